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
        else Options.refuse("format", ":auto, :json or :bytes", format)
        end
      end

      private

      def offset(offset)
        case offset
        when nil, "" then "-1"
        when String then Text.utf8(offset, "offset")
        when Symbol, Integer then offset.to_s
        else Options.refuse("offset", "a String: \"-1\" (start), \"now\" (end) or an offset from the server", offset)
        end
      end

      def live(live)
        LIVE_MODES.fetch(live) do
          Options.refuse("live", ":off (or false, nil), :long_poll, :sse or :auto (or true)", live)
        end
      end

      def cursor(cursor)
        Text.utf8(Options.instance("cursor", cursor, String), "cursor") unless cursor.nil?
      end
    end
  end
end
