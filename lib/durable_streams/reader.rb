# frozen_string_literal: true

module DurableStreams
  # The common part of {JsonReader} and {ByteReader}: a position in a stream, and reading from there.
  #
  # A reader ends when it is up to date (`live: :off`), at the end of a closed stream, and when it is closed. After a
  # `break`, another iteration continues after the last batch or item yielded.
  #
  # Use a reader from one thread at a time: if two threads iterate at once, data may be lost or yielded twice. `close`
  # may come from any thread. Reading a reader from inside its own read (in a value callable, or in a trap handler that
  # interrupts it) raises ThreadError, because each would wait for the other.
  #
  # Internally, a position is an Array [next_offset, cursor, up_to_date, stream_closed]. It is a single object so that
  # one assignment replaces it.
  class Reader
    include Enumerable

    # @param stream [Stream]
    # @param format [Symbol] :json, :bytes or :text
    # @param stop [Native::StopSignal, nil] of a {Consumer} or {EventStream}
    # @param options [Hash] offset, live, cursor and retry_policy: see {Stream#read}
    # @api private
    def initialize(stream, format, stop: nil, **options)
      start = ReadOptions.normalize(**options)
      @url = stream.url
      @native = stream.native_reader(format: format, stop: stop, **start)
      @position = [start[:offset], start[:cursor], false, false].freeze
      @closed = false
      @stepping = false
      # Content received from the extension and not yet yielded, and the position after it. The position is nil while
      # the response is still arriving.
      @buffer = nil
      @buffer_position = nil
      @index = 0 # of the next item in the buffer
      # The extension writes [content, position] here. Not empty only if an interrupt came before fill_buffer took it.
      @received = []
    end

    # The position after the last batch or chunk that was completely yielded, including its last item. Save it: a new
    # reader that starts there neither misses nor repeats anything.
    # @return [String]
    def next_offset
      @position[0]
    end
    alias offset next_offset

    # @return [String, nil] the server's cursor, for `read(cursor: …)`
    def cursor
      @position[1]
    end

    # @return [Boolean] whether the stream had no more data when the server sent the last batch
    def up_to_date?
      @position[2]
    end
    alias up_to_date up_to_date?

    # @return [Boolean] whether the last batch was the end of a closed stream
    def stream_closed?
      @position[3]
    end

    # @return [Integer, nil] HTTP status of the last response
    def status
      @native.status
    end

    # Closes the reader and cancels its request. An iteration in another thread ends without an error. A second call
    # does nothing.
    # @return [nil]
    def close
      @closed = true
      @native.close
      nil
    end

    # @return [Boolean] whether {#close} was called
    def closed?
      @closed
    end

    # Yields batches (or chunks). One batch is one server response or SSE data event. If a response ends inside a JSON
    # message, the next one belongs to the same batch, because there is no position to save between them.
    # @yieldparam batch [JsonBatch, ByteChunk]
    # @return [Reader, Enumerator] self; without a block, an Enumerator
    # @raise [ClosedError] if the reader is closed
    def each_batch
      return enum_for(:each_batch) unless block_given?

      begin_iteration
      begin
        while buffer_response
          break if @closed

          batch = buffered_batch
          @position = @buffer_position
          @buffer = nil
          yield batch
          batch = nil # lets the GC free it while the next one is awaited
        end
      ensure
        @native.cancel
      end
      self
    end

    # Returns the next batch or item, as `each` would yield it.
    # @return [Object]
    # @raise [StopIteration] at the end; it ends `loop { reader.next }`
    # @raise [ClosedError] if the reader was closed before its first use
    def next
      value = peek
      consume
      value
    end

    # Returns what {#next} will return. The position does not move.
    # @return [Object]
    # @raise [StopIteration] at the end
    # @raise [ClosedError] if the reader was closed before its first use
    def peek
      begin_iteration unless @stepping && @closed
      @stepping = true
      return upcoming if buffer_upcoming && !@closed

      # The next call sends a new request, as a second `each` would.
      @native.cancel
      raise StopIteration, "the reader has reached the end"
    end

    # Waits for the next batch for a limited time. What has arrived of a batch by then is not lost.
    # @api private
    # @param limit [Numeric] seconds
    # @return [JsonBatch, ByteChunk, Symbol, nil] :none if there is none yet; nil at the end, and after {#close}
    def poll(limit)
      until @buffer && @buffer_position
        passed = nothing_received? && @native.next_batch_within(@received, limit)
        return passed ? :none : nil if @received.empty?

        payload, position = @received
        fill_buffer(@buffer ? joined(rest, payload) : payload, position)
        return :none if passed
      end
      batch = buffered_batch
      finish_buffer
      batch
    end

    # Yields the reader and closes it afterwards.
    # @api private
    # @return [Object] the block's value
    def use
      yield self
    ensure
      close
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@url)} next_offset=#{next_offset.inspect} closed=#{closed?}>"
    end

    private

    def begin_iteration
      return unless @closed

      url = Redaction.url(@url)
      raise ClosedError.new("read #{url}: the reader is closed: make a new one, which can begin at this one's " \
                            "next_offset", url: url)
    end

    # Fills the buffer with the rest of a response.
    # @return [Boolean] false at the end
    def buffer_response
      until @buffer && @buffer_position
        @native.next_batch(@received) if nothing_received?
        return false if @received.empty?

        payload, position = @received
        fill_buffer(@buffer ? joined(rest, payload) : payload, position)
      end
      true
    end

    # Fills the buffer with the next part of a response, as soon as it has arrived.
    # @return [Boolean] false at the end
    def buffer_part
      while @buffer.nil? || @buffer.empty?
        finish_buffer if @buffer
        @native.next_items(@received) if nothing_received?
        return false if @received.empty?

        fill_buffer(*@received)
      end
      true
    end

    # Whether to ask the extension for more: not if an interrupted call has already received something, nor at the end.
    # Each caller calls the extension directly: a helper would add a stack frame to every waiting fiber, which can cost
    # a memory page each.
    def nothing_received?
      @received.empty? && !ended?
    end

    # Moves received content into the buffer. Calls no method between the assignments: Ruby could run an interrupt
    # there, which would lose or repeat the content.
    def fill_buffer(payload, position)
      @buffer = payload
      @buffer_position = position
      @index = 0
      @received = []
    end

    # Empties the buffer after all of it was yielded, and moves the position if that completed a response.
    def finish_buffer
      @position = @buffer_position if @buffer_position
      @buffer = nil
    end

    # At the end of a closed stream no request is needed.
    def ended?
      @buffer.nil? && @position[3]
    end
  end
end
