# frozen_string_literal: true

module DurableStreams
  # Reads the bytes of a stream. Data of text streams is UTF-8 where valid; all other data is binary.
  class ByteReader < Reader
    # @param stream [Stream] if its content type is not known, a HEAD request looks it up
    # @param offset [String, nil] see {Stream#read}
    # @param live [Symbol, Boolean, nil] see {Stream#read}
    # @param cursor [String, nil] see {Stream#read}
    # @param retry_policy [RetryPolicy, nil] see {Stream#read}
    # @param stop [Native::StopSignal, nil] of a {Consumer} or {EventStream}
    def initialize(stream, offset: "-1", live: :off, cursor: nil, retry_policy: nil, stop: nil)
      @text = ContentType.text?(stream.known_content_type(:read))
      format = @text ? :text : :bytes
      super(stream, format, offset: offset, live: live, cursor: cursor, retry_policy: retry_policy, stop: stop)
    end

    # Yields chunks. One chunk is one server response or SSE data event.
    # @yieldparam chunk [ByteChunk]
    # @return [ByteReader, Enumerator] self; without a block, an Enumerator
    # @raise [ClosedError] if the reader is closed
    def each(&block)
      return enum_for(:each) unless block

      each_batch(&block)
    end
    alias each_item each

    # Writes the bytes to an IO as they arrive, so only a bounded window of them is in memory. If a write raises, the
    # next call writes the same part again.
    # @param io [#write]
    # @return [Integer] bytes written
    # @raise [ClosedError] if the reader is closed
    def copy_to(io)
      written = 0
      each_part do |part|
        io.write(part)
        written += part.bytesize
      end
      written
    end

    # Reads the rest of the stream into one String.
    # @return [String]
    def body
      body = String.new(encoding: Encoding::BINARY)
      each_part { |part| body << part.b }
      labelled(body)
    end

    # Reads the rest of the stream as UTF-8, whatever its content type. Does not check it: see String#valid_encoding?.
    # @return [String]
    def text
      body.force_encoding(Encoding::UTF_8)
    end

    private

    def each_part
      begin_iteration
      begin
        while buffer_part && !@closed
          yield @buffer
          finish_buffer
        end
      ensure
        @native.cancel
      end
    end

    def rest
      @buffer
    end

    # Joins as bytes: each part has its own encoding, and a character may be split between two parts.
    def joined(first, second)
      labelled(first.b << second.b)
    end

    def labelled(bytes)
      return bytes unless @text

      bytes.force_encoding(Encoding::UTF_8)
      bytes.valid_encoding? ? bytes : bytes.force_encoding(Encoding::BINARY)
    end

    def buffered_batch
      ByteChunk.of(@buffer, @buffer_position)
    end

    def buffer_upcoming
      buffer_response
    end

    def upcoming
      buffered_batch
    end

    def consume
      finish_buffer
    end
  end
end
