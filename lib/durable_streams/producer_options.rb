# frozen_string_literal: true

module DurableStreams
  # Checks the options of {Producer#initialize}.
  # @api private
  module ProducerOptions
    # The largest batch that the extension builds, in bytes.
    MAX_BATCH_BYTES = 2**30
    STREAM = "a DurableStreams::Stream (for a URL or a path, give url:)"
    private_constant :STREAM

    class << self
      # @return [Stream] the handle to append through
      def stream(stream, url, client, content_type, headers)
        if stream.nil? == url.nil?
          raise ArgumentError, "give exactly one of stream: and url:, got #{stream.nil? ? "none" : "both"}"
        end

        Options.instance("stream", stream, Stream, STREAM) unless stream.nil?
        Options.instance("client", client, Client) unless client.nil?
        raise ArgumentError, "give client: only with url:, a stream already has its client" if stream && client

        type = ContentType.normalize(content_type)
        return stream.with(content_type: type, headers: headers) if stream

        options = { content_type: type || "application/json", headers: headers }
        client ? client.stream(url, **options) : Stream.new(url, **options)
      end

      # @return [String] the producer's id
      def id(id)
        Options.instance("producer_id", id, String)
        return -id if id.valid_encoding? && id.match?(/\A[[:print:]]+\z/) && id == id.strip

        Options.refuse("producer_id", "one or more printable characters without surrounding spaces", id)
      end

      # @return [Hash{Symbol => Object}] the settings for the extension
      def settings(epoch:, next_seq:, auto_claim:, max_batch_bytes:, max_batch_items:, linger_ms:, max_in_flight:,
                   max_buffered_bytes:, when_full:, delivery_timeout:)
        { epoch: Options.integer("epoch", epoch, 0..Options::LARGEST),
          next_seq: next_seq && Options.integer("next_seq", next_seq, 0..Options::LARGEST),
          auto_claim: Options.boolean("auto_claim", auto_claim) || false,
          max_batch_bytes: Options.integer("max_batch_bytes", max_batch_bytes, 1..MAX_BATCH_BYTES),
          max_batch_items: max_batch_items && Options.integer("max_batch_items", max_batch_items, 1..Options::LARGEST),
          linger: Options.not_negative("linger_ms", linger_ms, "milliseconds").to_f / 1000,
          max_in_flight: Options.integer("max_in_flight", max_in_flight, 1..1_000),
          max_buffered_bytes: Options.integer("max_buffered_bytes", max_buffered_bytes, 1..Options::LARGEST),
          block_when_full: Options.one_of("when_full", when_full, %i[block raise]) == :block,
          delivery_timeout: delivery_timeout && delivery_seconds(delivery_timeout) }
      end

      # @return [Float, nil] seconds
      def timeout(timeout)
        timeout && Options.not_negative("timeout", timeout, "seconds").to_f
      end

      private

      def delivery_seconds(value)
        Options.positive("delivery_timeout", value, "seconds above 0, or nil for no limit").to_f
      end
    end
  end
end
