# frozen_string_literal: true

module DurableStreams
  module Testing
    # Offsets of the streams in memory: how many messages lie before them, so that they sort byte by byte.
    # @api private
    module MockOffset
      class << self
        # @param count [Integer] of messages
        # @return [String]
        def of(count)
          format("%016d", count)
        end

        # @param offset [String, nil] as a client sends it
        # @param size [Integer] of the stream, in messages
        # @return [Integer, nil] how many messages lie before it; nil if it is no offset of the stream
        def parse(offset, size)
          case offset
          when nil, "-1" then 0
          when "now" then size
          when /\A\d{16}\z/ then offset.to_i if offset.to_i <= size
          end
        end
      end
    end
  end
end
