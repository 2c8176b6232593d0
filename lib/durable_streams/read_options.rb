# frozen_string_literal: true

module DurableStreams
  # Checks the options of a read.
  # @api private
  module ReadOptions
    LIVE_MODES = { off: :off, long_poll: :long_poll, sse: :sse, auto: :auto, false => :off, nil => :off,
                   true => :auto }.freeze

    class << self
      # @param offset [String, Symbol, Integer, nil]
      # @param live [Symbol, Boolean, nil]
      # @param cursor [String, nil]
      # @param retry_policy [RetryPolicy, nil]
      # @return [Hash{Symbol => Object}] the same, in the form that the extension takes
      # @raise [ArgumentError] if one is invalid
      def normalize(offset:, live:, cursor:, retry_policy:)
        { offset: offset(offset), live: live(live), cursor: cursor(cursor),
          retry_policy: RetryPolicy.to_native(retry_policy) }
      end

      # @param format [Symbol, nil]
      # @yieldreturn [Boolean] whether the stream is JSON; called only if the format does not decide
      # @return [Boolean]
      # @raise [ArgumentError]
      def json?(format)
        case format
        when nil, :auto then yield
        when :json then true
        when :bytes then false
        else raise ArgumentError, "format must be :auto, :json or :bytes, got #{format.inspect}"
        end
      end

      private

      def offset(offset)
        case offset
        when nil, "" then "-1"
        when String then Text.utf8(offset, "offset")
        when Symbol, Integer then offset.to_s
        else raise ArgumentError, "offset must be a String, got #{offset.class}"
        end
      end

      def live(live)
        LIVE_MODES.fetch(live) do
          raise ArgumentError, "live must be :off (or false, nil), :long_poll, :sse or :auto (or true), " \
                               "got #{live.inspect}"
        end
      end

      def cursor(cursor)
        return if cursor.nil?
        return Text.utf8(cursor, "cursor") if cursor.is_a?(String)

        raise ArgumentError, "cursor must be a String, got #{cursor.class}"
      end
    end
  end
end
