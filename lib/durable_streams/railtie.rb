# frozen_string_literal: true

require "active_support"
require "active_support/json"
require "rails/railtie"

module DurableStreams
  # What differs under Rails, unless the application chooses otherwise. `require "durable_streams"` loads this file if
  # Rails is loaded; a program that loads Rails later requires it then. Its effect does not depend on when that is.
  #
  # It defines neither `config.durable_streams` nor `DurableStreams::Rails`: the gem durable_streams-rails has those.
  # Therefore the code of this library must write `::Rails`.
  class Railtie < ::Rails::Railtie
    # A program that has loaded nothing of the library yet. The library does not load this file again then.
    require "durable_streams" unless defined?(DurableStreams::Message)

    # Times, durations, sets and decimals as Rails encodes them elsewhere.
    Message.default_encoder = ::ActiveSupport::JSON.method(:encode)
    # Rails.logger is made later, and may be replaced. Gems may load Rails::Railtie without the rest of Rails.
    DurableStreams.default_logger = -> { ::Rails.logger if ::Rails.respond_to?(:logger) }
    # Events for ActiveSupport::Notifications.
    require "durable_streams/active_support"
  end
end
