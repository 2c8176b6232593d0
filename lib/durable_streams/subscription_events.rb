# frozen_string_literal: true

module DurableStreams
  # Publishes the events of workers and webhooks: see {DurableStreams.subscribe}. Their payload has `subscription`,
  # `stream` (a path), `offset` and `generation`.
  # @api private
  module SubscriptionEvents
    class << self
      # Runs the block for a batch, and publishes `message.durable_streams` with its duration, and what it raised. Does
      # neither for a batch without items or data, which only moves the offset.
      # @param subscription [String]
      # @param generation [Integer]
      # @param path [String]
      # @param batch [JsonBatch, ByteChunk] its `next_offset` is the event's offset
      # @return [Object, nil] the block's value
      def message(subscription, generation, path, batch, &block)
        return if batch[0].empty?
        return yield unless Events.wanted?("message.durable_streams")

        payload = payload(subscription, generation, path, batch.next_offset)
        Events.measure("message.durable_streams", payload, &block)
      end

      # Publishes `claimed.durable_streams`.
      def claimed(subscription, generation)
        publish("claimed.durable_streams", subscription, generation)
      end

      # Publishes `fenced.durable_streams`: a claim has ended before it was given back.
      # @param error [Exception] why
      def fenced(subscription, generation, error)
        publish("fenced.durable_streams", subscription, generation, error)
      end

      private

      def publish(name, subscription, generation, error = nil)
        return unless Events.wanted?(name)

        Events.publish(name, Time.now, 0.0, payload(subscription, generation), error)
      end

      def payload(subscription, generation, path = nil, offset = nil)
        { subscription: subscription, stream: path, offset: offset, generation: generation }
      end
    end
  end
end
