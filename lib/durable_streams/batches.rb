# frozen_string_literal: true

module DurableStreams
  # The items of one server response (or SSE data event) of a JSON stream, and the position after them.
  JsonBatch = Struct.new(:items, :next_offset, :cursor, :up_to_date, :stream_closed, keyword_init: true) do
    include OffsetAlias

    # @!attribute [r] items
    #   @return [Array] frozen; what JSON.parse would give for each message
    # @!attribute [r] next_offset
    #   @return [String] the position after the batch: save it, and go on from there with `read(offset: …)`
    # @!attribute [r] cursor
    #   @return [String, nil] for `read(cursor: …)`: helps caches, means nothing else
    # @!attribute [r] up_to_date
    #   @return [Boolean] whether nothing more existed when the server answered
    # @!attribute [r] stream_closed
    #   @return [Boolean] whether this is the end of a closed stream

    # @api private
    # @param items [Array] frozen
    # @param position [Array(String, String, Boolean, Boolean)] see {Reader}
    # @return [JsonBatch]
    def self.of(items, position)
      batch = allocate
      batch.items = items
      batch.next_offset, batch.cursor, batch.up_to_date, batch.stream_closed = position
      batch.freeze
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

    # @return [Boolean] whether nothing more existed when the server answered
    def up_to_date?
      up_to_date ? true : false
    end

    # @return [Boolean] whether this is the end of a closed stream
    def stream_closed?
      stream_closed ? true : false
    end
  end

  # The bytes of one server response (or SSE data event), and the position after them.
  ByteChunk = Struct.new(:data, :next_offset, :cursor, :up_to_date, :stream_closed, keyword_init: true) do
    include OffsetAlias

    # @!attribute [r] data
    #   @return [String] binary; UTF-8 on a text stream where it is valid
    # @!attribute [r] next_offset
    #   @return [String] the position after the chunk: save it, and go on from there with `read(offset: …)`
    # @!attribute [r] cursor
    #   @return [String, nil] for `read(cursor: …)`: helps caches, means nothing else
    # @!attribute [r] up_to_date
    #   @return [Boolean] whether nothing more existed when the server answered
    # @!attribute [r] stream_closed
    #   @return [Boolean] whether this is the end of a closed stream

    # @api private
    # @param data [String]
    # @param position [Array(String, String, Boolean, Boolean)] see {Reader}
    # @return [ByteChunk]
    def self.of(data, position)
      chunk = allocate
      chunk.data = data
      chunk.next_offset, chunk.cursor, chunk.up_to_date, chunk.stream_closed = position
      chunk.freeze
    end

    # @param data [String]
    # @param next_offset [String, nil] also as `offset`
    # @param cursor [String, nil]
    # @param up_to_date [Boolean]
    # @param stream_closed [Boolean]
    def initialize(data: "", offset: nil, next_offset: offset, cursor: nil, up_to_date: false, stream_closed: false)
      super(data: data, next_offset: next_offset, cursor: cursor, up_to_date: up_to_date, stream_closed: stream_closed)
      freeze
    end

    # @return [Boolean] whether nothing more existed when the server answered
    def up_to_date?
      up_to_date ? true : false
    end

    # @return [Boolean] whether this is the end of a closed stream
    def stream_closed?
      stream_closed ? true : false
    end
  end
end
