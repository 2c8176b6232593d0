# frozen_string_literal: true

require "json"
require "rbconfig"

# The documented examples use SecureRandom without requiring it. Code written for the pure-Ruby client relies on Timeout
# and Logger, which that client loads.
autoload :Logger, "logger"
autoload :SecureRandom, "securerandom"
autoload :Timeout, "timeout"

module DurableStreams
  autoload :Checkpoint, "durable_streams/checkpoint"
  autoload :CheckpointError, "durable_streams/checkpoint"
  autoload :Consumer, "durable_streams/consumer"
  autoload :Claim, "durable_streams/claim"
  autoload :Webhook, "durable_streams/webhook"
  autoload :Worker, "durable_streams/worker"
  autoload :Event, "durable_streams/events"
  autoload :EventStream, "durable_streams/event_stream"
  autoload :EventSubscription, "durable_streams/events"
  autoload :Events, "durable_streams/events"
  autoload :SubscribedStream, "durable_streams/subscription"
  autoload :Subscription, "durable_streams/subscription"
  autoload :Subscriptions, "durable_streams/subscriptions"
end

require_relative "durable_streams/version"
require_relative "durable_streams/constants"
require_relative "durable_streams/retry_policy"
require_relative "durable_streams/errors"
require_relative "durable_streams/producer_error"
require_relative "durable_streams/values"
require_relative "durable_streams/batches"

# A precompiled gem has one extension for each Ruby version. A gem built from source has one extension for all. Check
# which file exists instead of trying both: if an existing extension fails to load, its own error must reach the user.
precompiled = File.join(__dir__, "durable_streams", RUBY_VERSION[/\A\d+\.\d+/],
                        "durable_streams.#{RbConfig::CONFIG["DLEXT"]}")
begin
  require File.file?(precompiled) ? precompiled : "durable_streams/durable_streams"
rescue LoadError => e
  raise unless e.path == "durable_streams/durable_streams"

  others = Dir.glob("durable_streams/[0-9]*/", base: __dir__).map { |folder| File.basename(folder) }.sort
  advice = if others.empty?
             "Installed gem: run `gem pristine durable_streams` (needs Rust, https://rustup.rs, a C compiler and " \
               "libclang). Checkout: run bin/setup, then `rake compile`."
           else
             "Installed gem: this precompiled gem is for Ruby #{others.join(", ")}. Run " \
               "`gem install durable_streams --platform ruby`, which builds it."
           end
  raise LoadError, "#{e.message}: the native extension of durable_streams is not built for Ruby #{RUBY_VERSION} on " \
                   "#{RUBY_PLATFORM}. #{advice}"
end

require_relative "durable_streams/redaction"
require_relative "durable_streams/status"
require_relative "durable_streams/text"
require_relative "durable_streams/content_type"
require_relative "durable_streams/message"
require_relative "durable_streams/originals"
require_relative "durable_streams/options"
require_relative "durable_streams/request_options"
require_relative "durable_streams/read_options"
require_relative "durable_streams/creation"
require_relative "durable_streams/configuration"
require_relative "durable_streams/context"
require_relative "durable_streams/client"
require_relative "durable_streams/stream"
require_relative "durable_streams/reader"
require_relative "durable_streams/json_reader"
require_relative "durable_streams/byte_reader"
require_relative "durable_streams/callback_threads"
require_relative "durable_streams/producer_options"
require_relative "durable_streams/producer_callbacks"
require_relative "durable_streams/producer"
require_relative "durable_streams/module_api"
require_relative "durable_streams/railtie" if defined?(Rails::Railtie) && !defined?(DurableStreams::Railtie)
