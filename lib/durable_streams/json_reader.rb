# frozen_string_literal: true

module DurableStreams
  # Reads the messages of a JSON stream. Items equal what JSON.parse returns.
  #
  # `each_batch` yields {JsonBatch}es. `each_item` yields items while the response is still arriving: the first items of
  # a large response come at once, and only a bounded window of it is in memory. `next_offset` advances with the last
  # item of a response. `each` is one of the two: see {Stream#read} and {Stream#read_json}.
  #
  # Some servers end a response inside a message. Then `next_offset` advances with the next response that ends with one.
  # A batch of more than 32 MiB ends without a new `next_offset`: a new reader there reads these items again, this one
  # does not.
  class JsonReader < Reader
    # @param stream [Stream]
    # @param offset [String, nil] see {Stream#read}
    # @param live [Symbol, Boolean, nil] see {Stream#read}
    # @param cursor [String, nil] see {Stream#read}
    # @param retry_policy [RetryPolicy, nil] see {Stream#read}
    # @param each_yields [Symbol, nil] :batches or :items; nil: the configuration's
    # @param stop [Native::StopSignal, nil] of a {Consumer} or {EventStream}
    def initialize(stream, offset: "-1", live: :off, cursor: nil, retry_policy: nil, each_yields: nil, stop: nil)
      super(stream, :json, offset: offset, live: live, cursor: cursor, retry_policy: retry_policy, stop: stop)
      @items = (each_yields || stream.context.config.each_yields) == :items
    end

    # Yields batches or items: see {Stream#read}.
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

    # Reads the rest of the stream into an Array of what `each` yields.
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

    # Yields the buffered items. Between taking an item and yielding it, the code calls no method and takes no branch:
    # Ruby could run an interrupt there, which would lose the item. The block may close the reader or read items.
    def yield_items
      items = @buffer
      # rubocop:disable Style/IdenticalConditionalBranches -- a shared `yield` after the `if` would need a branch
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
