# frozen_string_literal: true

module DurableStreams
  # The part that {JsonBatch} and {ByteChunk} share: the position after one server response (or SSE data event). The
  # content is the first member of each struct.
  # @api private
  module ResponsePart
    include OffsetAlias

    # @!attribute [r] next_offset
    #   @return [String] the position after this content: save it, and continue there with `read(offset: …)`
    # @!attribute [r] cursor
    #   @return [String, nil] an opaque value for `read(cursor: …)`; it helps caches to merge requests
    # @!attribute [r] up_to_date
    #   @return [Boolean] whether the stream had no more data when the server responded
    # @!attribute [r] stream_closed
    #   @return [Boolean] whether this is the end of a closed stream

    # Builds a value without the Hash that keyword arguments cost.
    # @api private
    module Building
      # @param content [Array, String] frozen if it is an Array
      # @param position [Array(String, String, Boolean, Boolean)] next_offset, cursor, up_to_date, stream_closed
      # @return [JsonBatch, ByteChunk]
      def of(content, position)
        part = allocate
        part[0] = content
        part.next_offset, part.cursor, part.up_to_date, part.stream_closed = position
        part.freeze
      end
    end

    # @return [Boolean] whether the stream had no more data when the server responded
    def up_to_date?
      up_to_date ? true : false
    end

    # @return [Boolean] whether this is the end of a closed stream
    def stream_closed?
      stream_closed ? true : false
    end
  end

  # The items of one server response (or SSE data event) of a JSON stream, and the position after them.
  JsonBatch = Struct.new(:items, :next_offset, :cursor, :up_to_date, :stream_closed, keyword_init: true) do
    include ResponsePart
    extend ResponsePart::Building

    # @!attribute [r] items
    #   @return [Array] frozen; each message as JSON.parse returns it (if a key repeats, its last value counts)

    # @param member [Symbol, String, Integer]
    # @return [Object]
    # @raise [NameError, IndexError] if there is no such member
    def [](member)
      super
    rescue NameError
      # Code for the pure-Ruby client takes what `each` yields for a message.
      raise NameError.new("no member #{member.inspect} in a JsonBatch: its messages are in `items`; " \
                          "read_json yields messages instead of batches", member.to_sym)
    end

    # @param items [Array]
    # @param next_offset [String, nil] also as `offset`
    # @param cursor [String, nil]
    # @param up_to_date [Boolean]
    # @param stream_closed [Boolean]
    def initialize(items: [], offset: nil, next_offset: offset, cursor: nil, up_to_date: false, stream_closed: false)
      items = Array(items)
      super(items: items.frozen? ? items : items.dup.freeze, next_offset: next_offset, cursor: cursor,
            up_to_date: up_to_date, stream_closed: stream_closed)
      freeze
    end
  end

  # The bytes of one server response (or SSE data event), and the position after them.
  ByteChunk = Struct.new(:data, :next_offset, :cursor, :up_to_date, :stream_closed, keyword_init: true) do
    include ResponsePart
    extend ResponsePart::Building

    # @!attribute [r] data
    #   @return [String] binary; on a text stream UTF-8 where valid

    # @param data [String]
    # @param next_offset [String, nil] also as `offset`
    # @param cursor [String, nil]
    # @param up_to_date [Boolean]
    # @param stream_closed [Boolean]
    def initialize(data: "", offset: nil, next_offset: offset, cursor: nil, up_to_date: false, stream_closed: false)
      super(data: data, next_offset: next_offset, cursor: cursor, up_to_date: up_to_date, stream_closed: stream_closed)
      freeze
    end
  end
end
