# frozen_string_literal: true

require "json"
require "rbconfig"

# The documentation's examples use SecureRandom in a header without requiring it, and code written for the pure-Ruby
# client finds Timeout and Logger there, which its HTTP library and itself load.
autoload :Logger, "logger"
autoload :SecureRandom, "securerandom"
autoload :Timeout, "timeout"

require_relative "durable_streams/version"
require_relative "durable_streams/constants"
require_relative "durable_streams/retry_policy"
require_relative "durable_streams/errors"
require_relative "durable_streams/producer_error"
require_relative "durable_streams/values"
require_relative "durable_streams/batches"

# A precompiled gem has one extension for each Ruby; one that was built here has one for all. Which of them is there is
# looked at, not tried: an extension that is there and does not load has a reason that must be seen.
precompiled = File.join(__dir__, "durable_streams", RUBY_VERSION[/\A\d+\.\d+/],
                        "durable_streams.#{RbConfig::CONFIG["DLEXT"]}")
begin
  require File.file?(precompiled) ? precompiled : "durable_streams/durable_streams"
rescue LoadError => e
  raise unless e.path == "durable_streams/durable_streams"

  raise LoadError, "#{e.message}: the extension of durable_streams is not built for Ruby #{RUBY_VERSION} on " \
                   "#{RUBY_PLATFORM}. `gem pristine durable_streams` builds that of an installed gem, which takes " \
                   "Rust (https://rustup.rs), a C compiler and libclang; bin/setup that of a checkout."
end

require_relative "durable_streams/redaction"
require_relative "durable_streams/status"
require_relative "durable_streams/text"
require_relative "durable_streams/content_type"
require_relative "durable_streams/message"
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
