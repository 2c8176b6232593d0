# frozen_string_literal: true

module DurableStreams
  # What JsonReader and ByteReader have in common: a place in a stream, and going on from it.
  #
  # A reader ends when it is up to date (`live: :off`), at the end of a closed stream, and when it is closed. Whoever
  # breaks out of an iteration can iterate again: it goes on after the last thing that was handed out. One reader is for
  # one thread at a time: of what two iterate at the same moment, some may be lost, or come to both. `close` may come
  # from any. Whoever reads it from within its own read (in the callable of a header, or a trap handler that interrupts
  # it) gets a ThreadError, since each would wait for the other.
  #
  # Inside, a position is the Array [next_offset, cursor, up_to_date, stream_closed], as the extension hands it out: one
  # object, so that it is replaced in one step.
  class Reader
    include Enumerable

    # @param stream [Stream]
    # @param format [Symbol] :json, :bytes or :text
    # @param offset [String, nil] as {Stream#read} takes it
    # @param live [Symbol, Boolean, nil] as {Stream#read} takes it
    # @param cursor [String, nil] as {Stream#read} takes it
    # @api private
    def initialize(stream, format, offset:, live:, cursor:)
      start = ReadOptions.normalize(offset, live, cursor)
      @url = stream.url
      @native = stream.native_reader(format, start[:live], start[:offset], start[:cursor])
      @position = [start[:offset], start[:cursor], false, false].freeze
      @closed = false
      @stepping = false
      # What the extension has handed over and Ruby not yet handed out, and the position after it: nil while the
      # response it belongs to is still arriving.
      @buffer = nil
      @buffer_position = nil
      @index = 0 # of the next item in what is held
      # What the extension has handed over and is not held yet, and the position after it, where an interrupt came in
      # between; mostly empty.
      @received = []
    end

    # The position after the last batch (or chunk) that was handed out, the last item of it included. Save it: a new
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

    # @return [Boolean] whether nothing more existed when the server gave the last batch
    def up_to_date?
      @position[2]
    end
    alias up_to_date up_to_date?

    # @return [Boolean] whether the last batch was the end of a closed stream
    def stream_closed?
      @position[3]
    end

    # @return [Integer, nil] HTTP status of the last answer
    def status
      @native.status
    end

    # Ends the reader and its request. A blocked iteration in another thread ends quietly. Closing twice is fine.
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

    # Yields batches (or chunks), each one server response or SSE data event.
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
          batch = nil # or it would stay in memory while the next one is awaited
        end
      ensure
        @native.cancel
      end
      self
    end

    # The next thing that `each` would yield, without a block to give it to.
    # @return [Object]
    # @raise [StopIteration] at the end; `loop { reader.next }` ends there
    # @raise [ClosedError] if the reader was closed before it was used
    def next
      value = peek
      consume
      value
    end

    # What {#next} will return. The position does not move.
    # @return [Object]
    # @raise [StopIteration] at the end
    # @raise [ClosedError] if the reader was closed before it was used
    def peek
      begin_iteration unless @stepping && @closed
      @stepping = true
      return upcoming if buffer_upcoming && !@closed

      # The next call asks the server anew, as a second `each` would.
      @native.cancel
      raise StopIteration, "the reader has reached the end"
    end

    # Gives the reader to the block and closes it afterwards.
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

      raise ClosedError.new("Reader is closed: #{Redaction.url(@url)}", url: Redaction.url(@url))
    end

    # Makes sure that the rest of a response is held, all of it.
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

    # Makes sure that something is held that can be handed out, as soon as it is there.
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

    # Whether to ask the extension: an interrupted call may have received something, and at the end nothing comes.
    # Whoever wants to know asks it with no frame in between: thousands of parked fibers would each pay a page for it.
    def nothing_received?
      @received.empty? && !ended?
    end

    # Holds what was received. Nothing is called meanwhile: an interrupt there would lose it, or repeat it.
    def fill_buffer(payload, position)
      @buffer = payload
      @buffer_position = position
      @index = 0
      @received = []
    end

    # Drops what is held once all of it is handed out, and moves on if a response is complete with it.
    def finish_buffer
      @position = @buffer_position if @buffer_position
      @buffer = nil
    end

    # A closed stream has nothing after its end: no need to ask.
    def ended?
      @buffer.nil? && @position[3]
    end
  end
end
