# frozen_string_literal: true

module DurableStreams
  # Reads the bytes of a stream. Data of text streams is UTF-8 where it is valid, all other data is binary.
  class ByteReader < Reader
    # @param stream [Stream] asked for its content type (HEAD) if it does not know it
    # @param offset [String, nil] as {Stream#read} takes it
    # @param live [Symbol, Boolean, nil] as {Stream#read} takes it
    # @param cursor [String, nil] as {Stream#read} takes it
    def initialize(stream, offset: "-1", live: :off, cursor: nil)
      @text = ContentType.text?(stream.known_content_type(:read))
      super(stream, @text ? :text : :bytes, offset: offset, live: live, cursor: cursor)
    end

    # Yields chunks, each one server response or SSE data event.
    # @yieldparam chunk [ByteChunk]
    # @return [ByteReader, Enumerator] self; without a block, an Enumerator
    # @raise [ClosedError] if the reader is closed
    def each(&block)
      return enum_for(:each) unless block

      each_batch(&block)
    end
    alias each_item each

    # Writes the bytes to an IO while they arrive, so that never more than a window of them is in memory. What a
    # failing write was given is given to the next one again.
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

    # All that is left, in one String.
    # @return [String]
    def body
      body = String.new(encoding: Encoding::BINARY)
      each_part { |part| body << part.b }
      labelled(body)
    end

    # All that is left, as UTF-8, whatever the stream's content type. Not checked: see String#valid_encoding?.
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

    # Each part has an encoding of its own: a character may be cut between them.
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
