# frozen_string_literal: true

module DurableStreams
  # Checks the options of stream creation and converts them for the extension.
  # @api private
  module Creation
    # An RFC 3339 timestamp: date and time up to the second, fraction, time zone.
    TIMESTAMP = /\A(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\z/i

    ALLOWED_TIME = 'a Time or an RFC 3339 String such as "2025-01-31T12:00:00Z"'

    # A base URL for resolving the path of a fork's source. Only the path of the result is used.
    ANY_SERVER = "http://any"
    private_constant :ANY_SERVER

    class << self
      # @param ttl_seconds [Integer, nil]
      # @param expires_at [String, Time, nil]
      # @return [Hash{Symbol => Object}] ttl_seconds: and expires_at:, each nil if not given
      # @raise [ArgumentError] if both are given, or one is invalid
      def expiry(ttl_seconds, expires_at)
        raise ArgumentError, "give ttl_seconds or expires_at, not both" if ttl_seconds && expires_at

        { ttl_seconds: whole(ttl_seconds, "ttl_seconds"), expires_at: timestamp(expires_at, "expires_at") }
      end

      # @param source [Stream, String, nil] a stream, its URL, or a path that the context resolves
      # @param offset [String, nil]
      # @param sub_offset [Integer, nil]
      # @param context [Context]
      # @return [Hash{Symbol => Object}] the source's path on its server, the offset, the sub-offset; nil if not given
      # @raise [ArgumentError] if a value is invalid, or an offset is given without a source
      def fork(source, offset, sub_offset, context)
        raise ArgumentError, "fork_offset and fork_sub_offset require forked_from" if !source && (offset || sub_offset)

        Options.instance("fork_offset", offset, String) if offset
        { forked_from: source_path(source, context), fork_offset: offset && Text.utf8(offset, "fork_offset"),
          fork_sub_offset: whole(sub_offset, "fork_sub_offset") }
      end

      # What is known of a fork's source before the fork. It shows whether the new stream is a fork.
      # @param source [Stream, nil]
      # @param offset [String, nil] where the fork begins; nil: at the source's end, which a HEAD finds out
      # @return [Hash{Symbol => String, nil}]
      def known_of(source, offset)
        tail = source.look_up(:fork).next_offset if source && offset.nil?
        { source_tail: tail, source_content_type: source&.content_type }
      end

      # @param moment [Time, String, #to_time, nil]
      # @param name [String] the argument's name, for error messages
      # @return [String, nil] in RFC 3339 format and UTC; a String and nil as they are
      # @raise [ArgumentError] if it is anything else
      def timestamp(moment, name)
        case moment
        when nil then return
        when TIMESTAMP then return moment
        when Time then time = moment.getutc
        else
          # Active Support gives Strings this method too, but such a time has no zone.
          Options.refuse(name, ALLOWED_TIME, moment) if moment.is_a?(String) || !moment.respond_to?(:to_time)

          time = moment.to_time.getutc
        end
        time.strftime(time.nsec.zero? ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%dT%H:%M:%S.%6NZ")
      end

      private

      def source_path(source, context)
        return if source.nil?

        source = source.url if source.is_a?(Stream)
        Options.instance("forked_from", source, String, "a DurableStreams::Stream, a URL or a path")

        # A path needs no base_url: the source is on the fork's server.
        Native.url_path(context.resolve_url(source, stand_in: ANY_SERVER))
      end

      def whole(number, name)
        return if number.nil?

        Options.integer(name, number, 0..Options::LARGEST).to_i # to_i: Active Support's durations count as Integers
      end
    end
  end
end
