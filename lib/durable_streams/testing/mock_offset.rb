# frozen_string_literal: true

module DurableStreams
  module Testing
    # Offsets of streams in memory: the number of messages before them, in 16 digits so that they sort bytewise.
    # @api private
    module MockOffset
      class << self
        # @param count [Integer] number of messages
        # @return [String]
        def of(count)
          format("%016d", count)
        end

        # @param offset [String, nil] the offset of a request
        # @param size [Integer] the stream's number of messages
        # @return [Integer, nil] the number of messages before it; nil if it is not an offset of the stream
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
