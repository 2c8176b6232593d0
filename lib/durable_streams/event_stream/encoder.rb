# frozen_string_literal: true

module DurableStreams
  class EventStream
    # Writes batches as server-sent events. It knows the position after what it has written: an offset, and how many
    # items or bytes after it.
    # @api private
    class Encoder
      # Events are collected until they have this many bytes.
      PART_BYTES = 65_536

      # The event that says that the stream has ended.
      # @param offset [String] the stream's last one
      # @return [String]
      def self.end_of(offset)
        "event: end\nid: #{offset}/end\ndata: #{offset}\n\n"
      end

      # @param offset [String] where the reader begins
      # @param count [Integer] how many items (or bytes) after it the browser has
      def initialize(offset, count)
        @offset = offset
        @count = 0 # of items (or bytes) after the offset that were written or left out
        @left = count # to leave out
      end

      # @return [String] sets the EventSource's position, without an event
      def position
        "id: #{id}\n\n"
      end

      # @param batch [JsonBatch, ByteChunk]
      # @yieldparam part [String] one or more events
      # @return [Boolean] whether there was an event
      def encode(batch)
        part = +""
        written = false
        events_of(batch) do |data|
          part << "id: #{id}\ndata: #{data}\n\n"
          next if part.bytesize < PART_BYTES

          yield part
          part = +""
          written = true
        end
        return written if part.empty?

        yield part
        true
      end

      private

      def id
        count = @count + @left
        count.zero? ? @offset : "#{@offset}/#{count}"
      end

      # The batch is complete. If its offset is the one before, as in the middle of a huge batch, the count goes on.
      def advance(offset)
        return if offset == @offset

        @offset = offset
        @count = 0
      end

      # @return [Integer] how many of the next `size` items or bytes to leave out
      def skip(size)
        skipped = [@left, size].min
        @left -= skipped
        @count += skipped
        skipped
      end

      # Items of JSON: one event each.
      # @api private
      class Items < Encoder
        private

        def events_of(batch)
          skipped = skip(batch.items.size)
          last = batch.items.size - 1
          batch.items.each_with_index do |item, index|
            next if index < skipped

            @count += 1
            advance(batch.next_offset) if index == last
            yield generate(item)
          end
          advance(batch.next_offset)
        end

        # A number that is too large for a Float, as 1e400, has become Infinity. It is not JSON: the page cannot parse
        # this one event, while it gets the others.
        def generate(item)
          JSON.generate(item, allow_nan: true)
        end
      end

      # Text: one event for each chunk.
      # @api private
      class Chunks < Encoder
        # The beginning of a UTF-8 character, or of a CR LF, which the next chunk may complete.
        INCOMPLETE = /(?:[\xC2-\xDF]|[\xE0-\xEF][\x80-\xBF]?|[\xF0-\xF4][\x80-\xBF]{0,2}|\r)\z/n
        LINE_END = /\r\n|\r|\n/n

        def initialize(*)
          super
          @rest = "".b
        end

        private

        def events_of(batch)
          text = @rest + batch.data.b.byteslice(skip(batch.data.bytesize)..)
          @rest = batch.stream_closed? ? "".b : text.slice!(INCOMPLETE) || "".b
          @count += text.bytesize
          advance(batch.next_offset) if @rest.empty?
          yield text.gsub(LINE_END, "\ndata: ").force_encoding(Encoding::UTF_8) unless text.empty?
        end
      end
    end
  end
end
