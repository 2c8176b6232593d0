# frozen_string_literal: true

module DurableStreams
  # Checks what a stream is created with, and puts it into the form that the extension takes.
  # @api private
  module Creation
    class << self
      # @param ttl_seconds [Integer, nil]
      # @param expires_at [String, Time, nil]
      # @return [Array(Integer, String)] each nil where it was nil
      # @raise [ArgumentError] for both at once, and for what is neither
      def expiry(ttl_seconds, expires_at)
        raise ArgumentError, "a stream takes ttl_seconds or expires_at, not both" if ttl_seconds && expires_at

        [ttl(ttl_seconds), timestamp(expires_at)]
      end

      # @param source [Stream, String, nil] a stream, its URL, or its path as the context joins it
      # @param context [Context]
      # @return [String, nil] the path of the source on its server
      # @raise [ArgumentError] for anything else
      def source_path(source, context)
        return if source.nil?

        source = source.url if source.is_a?(Stream)
        raise ArgumentError, "forked_from must be a String or a Stream, got #{source.class}" unless source.is_a?(String)
        return source if context.config.base_url.nil? && source.start_with?("/")

        path = context.resolve_url(source)[%r{\A[^:]+://[^/?#]*(/[^?#]*)}, 1]
        path || raise(ArgumentError, "forked_from must name a stream, got #{Redaction.url(source).inspect}")
      end

      private

      def ttl(seconds)
        return if seconds.nil?
        return seconds.to_i if seconds.is_a?(Integer) && !seconds.negative?

        raise ArgumentError, "ttl_seconds must be whole seconds, 0 or more (an Integer), got #{seconds.inspect}"
      end

      # RFC 3339, in UTC.
      def timestamp(moment)
        case moment
        when nil, String then return moment
        when Time then time = moment.getutc
        else
          unless moment.respond_to?(:to_time)
            raise ArgumentError, "expires_at must be a Time or an RFC 3339 String, got #{moment.class}"
          end

          time = moment.to_time.getutc
        end
        time.strftime(time.nsec.zero? ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%dT%H:%M:%S.%6NZ")
      end
    end
  end
end
