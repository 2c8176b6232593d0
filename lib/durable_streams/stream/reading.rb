# frozen_string_literal: true

module DurableStreams
  # The methods that read.
  class Stream
    # Returns a reader that starts at a position. Readers are Enumerable. Before the first use, only a HEAD is sent, if
    # the content type is not known.
    #
    # `each` yields {JsonBatch}es or {ByteChunk}s. With `format:` (or `each_yields = :items` in the configuration) it
    # yields items on a JSON stream, as the pure-Ruby client does. `each_batch` and `each_item` are always available.
    # @param offset [String, nil] an offset from the server, "-1" (also nil, ""): the beginning, or "now": the end
    # @param live [Symbol, Boolean, nil] what to do at the end of the data: :off (false, nil) ends, :long_poll and :sse
    #   wait for more, :auto (true) waits by SSE for JSON and text, else by long-poll. Text over SSE loses its CRs, and
    #   with most servers a space at the beginning of a line. For exact text use :long_poll
    # @param format [Symbol, nil] :auto, :json or :bytes
    # @param cursor [String, nil] a cursor from an earlier read
    # @param retry_policy [RetryPolicy, nil] how often a failed request is sent again; progress resets the count. nil:
    #   as the client's policy says. If nobody has chosen a policy, a live read retries until it is closed, after its
    #   first success, with pauses of at most 5 seconds
    # @yieldparam reader [Reader] closed after the block
    # @return [JsonReader, ByteReader, Object] with a block, the block's value
    # @raise [ArgumentError] if an option is invalid
    def read(offset: "-1", live: :off, format: nil, cursor: nil, retry_policy: nil, **unknown, &block)
      Options.refuse_unknown(unknown, method(:read))
      options = { offset: offset, live: live, cursor: cursor, retry_policy: retry_policy }
      ReadOptions.normalize(**options)
      unit = format ? :items : @context.config.each_yields
      reader = if ReadOptions.json?(format) { known_content_type(:read) && @json }
                 JsonReader.new(self, **options, each_yields: unit)
               else
                 ByteReader.new(self, **options)
               end
      block ? reader.use(&block) : reader
    end

    # Returns a reader of JSON items: `each` yields items, as they arrive.
    # @param offset [String, nil] see {#read}
    # @param live [Symbol, Boolean, nil] see {#read}
    # @param cursor [String, nil] see {#read}
    # @param retry_policy [RetryPolicy, nil] see {#read}
    # @yieldparam reader [JsonReader] closed after the block
    # @return [JsonReader, Object] with a block, the block's value
    # @raise [ArgumentError] if an option is invalid
    def read_json(offset: "-1", live: :off, cursor: nil, retry_policy: nil, **unknown, &block)
      Options.refuse_unknown(unknown, method(:read_json))
      reader = JsonReader.new(self, offset: offset, live: live, cursor: cursor, retry_policy: retry_policy,
                                    each_yields: :items)
      block ? reader.use(&block) : reader
    end

    # Returns a reader of bytes: `each` yields {ByteChunk}s. On a JSON stream, each chunk is a JSON array as the server
    # sends it, and an empty one at the end of the stream.
    # @param offset [String, nil] see {#read}
    # @param live [Symbol, Boolean, nil] see {#read}
    # @param cursor [String, nil] see {#read}
    # @param retry_policy [RetryPolicy, nil] see {#read}
    # @yieldparam reader [ByteReader] closed after the block
    # @return [ByteReader, Object] with a block, the block's value
    # @raise [ArgumentError] if an option is invalid
    def read_bytes(offset: "-1", live: :off, cursor: nil, retry_policy: nil, **unknown, &block)
      Options.refuse_unknown(unknown, method(:read_bytes))
      reader = ByteReader.new(self, offset: offset, live: live, cursor: cursor, retry_policy: retry_policy)
      block ? reader.use(&block) : reader
    end

    # Reads all current data.
    # @param offset [String, nil] see {#read}
    # @return [Array] items; on streams that are not JSON, {ByteChunk}s
    # @raise [ArgumentError] if an option is invalid
    def read_all(offset: "-1", **unknown)
      Options.refuse_unknown(unknown, method(:read_all))
      read(offset: offset, format: :auto, &:to_a)
    end

    # Yields all current data, item by item.
    # @yieldparam item [Object] an item; on streams that are not JSON, a {ByteChunk}
    # @return [Stream, Enumerator] self; without a block, an Enumerator
    def each(&block)
      return enum_for(:each) unless block

      read(format: :auto) { |reader| reader.each(&block) }
      self
    end

    # Creates the native reader for a {Reader}.
    # @api private
    # @param options [Hash{Symbol => Object}] format: (:json, :bytes or :text), and see {ReadOptions.normalize}
    # @return [Native::Reader]
    def native_reader(**options)
      Native::Reader.new(@native, **options)
    end

    # Returns a reader for a {Consumer}, which yields batches.
    # @api private
    # @param stop [Native::StopSignal] ends all waits of this method, and the reader
    # @param offset [String, nil] see {#read}
    # @param live [Symbol, Boolean, nil] see {#read}
    # @return [JsonReader, ByteReader, nil] nil if it was stopped
    def read_until(stop, offset:, live:)
      type = @native.content_type(:read, stop) if @json.nil?
      return if stop.stopped?

      learn(type || ContentType::FALLBACK) if @json.nil?
      options = { offset: offset, live: live, stop: stop }
      @json ? JsonReader.new(self, each_yields: :batches, **options) : ByteReader.new(self, **options)
    end
  end
end
