# frozen_string_literal: true

require "durable_streams"

Dir[File.join(__dir__, "support", "**", "*.rb")].sort.each { |file| require file }

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.raise_errors_for_deprecations!
  config.order = :random
  Kernel.srand config.seed

  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.mock_with(:rspec) { |mocks| mocks.verify_partial_doubles = true }

  # Needs a program that only `bin/setup --cluster` builds.
  if Cluster.missing
    config.filter_run_excluding :cluster
    config.before(:suite) { RSpec.configuration.reporter.message("spec/cluster does not run: #{Cluster.missing}") }
  end

  config.example_status_persistence_file_path = File.expand_path("../tmp/spec-status.txt", __dir__)

  config.after(:suite) do
    logs = ServerHelpers.logs
    if logs.any? && RSpec.world.filtered_examples.values.flatten.any?(&:exception)
      RSpec.configuration.reporter.message("The servers' logs: #{logs.join(", ")}")
    end
  end
end
