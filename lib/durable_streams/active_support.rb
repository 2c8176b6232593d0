# frozen_string_literal: true

require "active_support"
require "active_support/notifications"
# The railtie loads this file while the library is being loaded.
require "durable_streams" unless defined?(DurableStreams::Producer)

module DurableStreams
  # Publishes the library's events to ActiveSupport::Notifications. An event keeps its name, its times and its payload;
  # a failed one has `:exception` and `:exception_object` too, as those of Rails have.
  # @api private
  module Notifications
    # An event with its own times, which are not those of its publication.
    class Event < ::ActiveSupport::Notifications::Event
      # @return [Time]
      attr_reader :time, :end

      # @param event [DurableStreams::Event]
      def initialize(event)
        ended = (event.time + event.duration).round(9)
        super(event.name, event.time, ended, ::ActiveSupport::Notifications.instrumenter.id, Event.payload(event))
        @time = event.time
        @end = ended
        @milliseconds = event.duration * 1_000.0
      end

      # @return [Float] milliseconds
      def duration
        @milliseconds
      end

      # @param event [DurableStreams::Event]
      # @return [Hash]
      def self.payload(event)
        error = event.error
        return event.payload unless error

        { **event.payload, exception: [error.class.name, error.message], exception_object: error }
      end
    end

    class << self
      # @param event [DurableStreams::Event]
      # @return [nil]
      def publish(event)
        notifications = ::ActiveSupport::Notifications
        return unless notifications.notifier.listening?(event.name)

        event = Event.new(event)
        if notifications.respond_to?(:publish_event)
          notifications.publish_event(event)
        else
          notifications.notifier.listeners_for(event.name).each { |listener| deliver(listener, event) }
        end
        nil
      end

      private

      # What `publish_event` of Active Support 7 and later does, for 6.1. Objects that need the start of an event before
      # its end get nothing, as there.
      def deliver(listener, event)
        delegate = listener.instance_variable_get(:@delegate)
        subscribers = ::ActiveSupport::Notifications::Fanout::Subscribers
        if listener.is_a?(subscribers::AllMessages)
          deliver(delegate, event)
        elsif listener.is_a?(subscribers::EventObject)
          delegate.call(event)
        elsif delegate.is_a?(::ActiveSupport::Subscriber)
          delegate.public_send(event.name[/\w+/], event)
        else
          listener.publish(event.name, event.time, event.end, event.transaction_id, event.payload)
        end
      end
    end
  end
end

require_relative "log_subscriber"

# `require` loads the file once, so there is one subscription.
DurableStreams.subscribe { |event| DurableStreams::Notifications.publish(event) }
DurableStreams::LogSubscriber.attach_to :durable_streams
