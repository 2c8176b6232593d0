# frozen_string_literal: true

# The order matters to durable_streams: an application that Bundler.require loads has Rails first.
require "durable_streams" if ENV["LOAD_RAILS_LAST"]
require "rails"
require "active_record/railtie"
require "active_job/railtie"
require "action_controller/railtie"
require "rails/test_unit/railtie"
require "durable_streams"
require ENV["EXTENSION"] if ENV.key?("EXTENSION")

module Shop
  # A small application. docs/rails.md has the rest of its code, see spec/support/rails_app.rb.
  class Application < Rails::Application
    config.root = File.expand_path("..", __dir__)
    config.load_defaults Rails.version.to_f
    config.secret_key_base = "not a secret"
    config.hosts.clear
    config.eager_load = ENV.key?("EAGER_LOAD")
    config.cache_classes = !ENV.key?("RELOAD")
    config.active_support.deprecation = :stderr
    config.active_job.queue_adapter = ENV.fetch("QUEUE", "async").to_sym
    config.log_level = ENV.fetch("LOG_LEVEL", "warn").to_sym
    config.logger = ActiveSupport::Logger.new($stdout)
  end
end
