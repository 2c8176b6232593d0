# frozen_string_literal: true

module DurableStreams
  # Checks the options of {Producer#initialize}.
  # @api private
  module ProducerOptions
    # The largest epoch and sequence number (PROTOCOL.md 5.2.1).
    MAX_NUMBER = (2**53) - 1
    # The largest batch that the extension builds, in bytes.
    MAX_BATCH_BYTES = 2**30

    class << self
      # @return [Stream] the handle to append through
      def stream(stream, url, client, content_type, headers)
        raise ArgumentError, "give exactly one: stream or url" if stream.nil? == url.nil?

        instance("stream", stream, Stream)
        instance("client", client, Client)
        raise ArgumentError, "give client only with url: a stream already has its client" if stream && client

        type = ContentType.normalize(content_type)
        return stream.with(content_type: type, headers: headers) if stream

        options = { content_type: type || "application/json", headers: headers }
        client ? client.stream(url, **options) : Stream.new(url, **options)
      end

      # @return [String] the producer's id
      def id(id)
        raise ArgumentError, "producer_id must be a String, got #{id.class}" unless id.is_a?(String)
        raise ArgumentError, "producer_id must not be empty" if id.empty?
        return -id if id.match?(/\A[[:print:]]+\z/) && id == id.strip

        raise ArgumentError, "producer_id must contain only printable characters and no surrounding spaces, " \
                             "got #{id.inspect}"
      end

      # @return [Hash{Symbol => Object}] the settings for the extension
      def settings(epoch:, next_seq:, auto_claim:, max_batch_bytes:, max_batch_items:, linger_ms:, max_in_flight:,
                   max_buffered_bytes:, when_full:, delivery_timeout:)
        { epoch: integer("epoch", epoch, 0..MAX_NUMBER),
          next_seq: next_seq && integer("next_seq", next_seq, 0..MAX_NUMBER),
          auto_claim: auto_claim ? true : false,
          max_batch_bytes: integer("max_batch_bytes", max_batch_bytes, 1..MAX_BATCH_BYTES),
          max_batch_items: max_batch_items && integer("max_batch_items", max_batch_items, 1..MAX_NUMBER),
          linger: seconds("linger_ms", linger_ms) / 1000.0,
          max_in_flight: integer("max_in_flight", max_in_flight, 1..1_000),
          max_buffered_bytes: integer("max_buffered_bytes", max_buffered_bytes, 1..MAX_NUMBER),
          block_when_full: blocks?(when_full),
          delivery_timeout: delivery_timeout && positive_seconds("delivery_timeout", delivery_timeout) }
      end

      # @return [Float, nil] seconds
      def timeout(timeout)
        timeout.nil? ? nil : seconds("timeout", timeout)
      end

      private

      def instance(name, value, klass)
        return if value.nil? || value.is_a?(klass)

        raise ArgumentError, "#{name} must be a #{klass}, got #{value.class}"
      end

      def integer(name, value, range)
        return value if value.is_a?(Integer) && range.cover?(value)

        raise ArgumentError, "#{name} must be an Integer from #{range.begin} to #{range.end}, got #{value.inspect}"
      end

      def seconds(name, value)
        return value.to_f if value.is_a?(Numeric) && value.real? && value.to_f.finite? && !value.negative?

        raise ArgumentError, "#{name} must be a number, 0 or more, got #{value.inspect}"
      end

      def positive_seconds(name, value)
        return value.to_f if value.is_a?(Numeric) && value.real? && value.to_f.finite? && value.positive?

        raise ArgumentError, "#{name} must be seconds above 0, or nil for no limit, got #{value.inspect}"
      end

      def blocks?(when_full)
        return when_full == :block if %i[block raise].include?(when_full)

        raise ArgumentError, "when_full must be :block or :raise, got #{when_full.inspect}"
      end
    end
  end
end
