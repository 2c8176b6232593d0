# frozen_string_literal: true

require "open3"
require "rbconfig"

ENV["DURABLE_STREAMS_SERVER"] ||= File.expand_path("../../../.server/bin/durable-streams-server", __dir__)

# Runs tests in a process of their own.
def passes(expected, *command)
  output, status = Open3.capture2e(RbConfig.ruby, *command)
  raise output unless status.success? && output.match?(expected)
end

GuideProgram.finish do
  passes(/4 examples, 0 failures/, "-S", "rspec", "--options", File::NULL, "spec")
  passes(/1 runs, 1 assertions, 0 failures, 0 errors/, "test/publisher_test.rb")
end
