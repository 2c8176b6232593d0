# frozen_string_literal: true

module DurableStreams
  # Reads the messages of a JSON stream, as JSON.parse would give them.
  #
  # `each_batch` yields {JsonBatch}es. `each_item` yields items while the answer is still arriving, so that the first
  # ones of a huge answer come at once and never more than a window of it is in memory; `next_offset` moves with the
  # last item of each answer. `each` is one of the two: see {Stream#read} and {Stream#read_json}.
  class JsonReader < Reader
    # @param stream [Stream]
    # @param offset [String, nil] as {Stream#read} takes it
    # @param live [Symbol, Boolean, nil] as {Stream#read} takes it
    # @param cursor [String, nil] as {Stream#read} takes it
    # @param each_yields [Symbol, nil] :batches or :items; nil: as the configuration has it
    def initialize(stream, offset: "-1", live: :off, cursor: nil, each_yields: nil)
      super(stream, :json, offset: offset, live: live, cursor: cursor)
      @items = (each_yields || stream.context.config.each_yields) == :items
    end

    # Yields batches, or items where the read asked for them.
    # @yieldparam batch [JsonBatch, Object]
    # @return [JsonReader, Enumerator] self; without a block, an Enumerator
    # @raise [ClosedError] if the reader is closed
    def each(&block)
      return enum_for(:each) unless block

      @items ? each_item(&block) : each_batch(&block)
    end

    # Yields items as they arrive.
    # @yieldparam item [Object]
    # @return [JsonReader, Enumerator] self; without a block, an Enumerator
    # @raise [ClosedError] if the reader is closed
    def each_item(&block)
      return enum_for(:each_item) unless block

      begin_iteration
      begin
        yield_items(&block) while buffer_part && !@closed
      ensure
        @native.cancel
      end
      self
    end

    # All that is left, as `each` would yield it.
    # @return [Array]
    def to_a(*)
      return super unless @items

      begin_iteration
      items = []
      begin
        while buffer_part && !@closed
          items.concat(rest)
          finish_buffer
        end
      ensure
        @native.cancel
      end
      items
    end
    alias entries to_a

    private

    # Yields the items that are items. Between taking one and yielding it no method is called, and no branch taken: an
    # interrupt there would lose it. The block may close the reader, or take items itself.
    def yield_items
      items = @buffer
      # rubocop:disable Style/IdenticalConditionalBranches -- a jump to one `yield` would be such a branch
      while items.equal?(@buffer) && !@closed
        item = items[@index]
        if @index + 1 < items.size
          @index += 1
          yield item
        else
          position = @buffer_position || @position
          @position = position
          @buffer = nil
          yield item
        end
      end
      # rubocop:enable Style/IdenticalConditionalBranches
    end

    def rest
      @index.zero? ? @buffer : @buffer.drop(@index)
    end

    def joined(first, second)
      first + second
    end

    def buffered_batch
      JsonBatch.of(rest.freeze, @buffer_position)
    end

    def buffer_upcoming
      @items ? buffer_part : buffer_response
    end

    def upcoming
      @items ? @buffer[@index] : buffered_batch
    end

    def consume
      return finish_buffer unless @items

      @index += 1
      finish_buffer if @index == @buffer.size
    end
  end
end
