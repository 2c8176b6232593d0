# frozen_string_literal: true

class FaultServer
  # HTTP/1.1 as bytes: reads heads and bodies from a socket, and writes chunks. Only as strict as the tests need.
  module Wire
    # The other side sent something that is not HTTP.
    class Malformed < StandardError; end

    # A first line and headers: an Array of [name, value] in the order in which they were sent.
    Head = Struct.new(:first_line, :headers) do
      # The first value of a header, or nil. Ignores the case of the name.
      def [](name)
        headers.each { |header, value| return value if header.casecmp?(name) }
        nil
      end
    end

    # Reads lines and exact lengths from a socket.
    class Reader
      def initialize(socket)
        @socket = socket
        @buffer = String.new(encoding: Encoding::BINARY)
      end

      # Whether bytes were read from the socket and not yet returned.
      def buffered?
        !@buffer.empty?
      end

      # The next line without its end; nil if the socket ends in order between two lines.
      def line
        fill until (stop = @buffer.index("\n"))
        @buffer.slice!(0..stop).chomp
      rescue EOFError
        raise if buffered?

        nil
      end

      # This many bytes; EOFError if there are fewer.
      def exactly(length)
        fill while @buffer.bytesize < length
        @buffer.slice!(0, length)
      end

      # Everything until the socket ends.
      def rest
        loop { fill }
      rescue EOFError
        @buffer.slice!(0..)
      end

      # The bytes that are available, at least one; EOFError at the end.
      def some
        fill if @buffer.empty?
        @buffer.slice!(0..)
      end

      private

      def fill
        @buffer << @socket.readpartial(65_536)
      end
    end

    module_function

    # Reads a first line and the headers; nil if the socket ends before them.
    def read_head(reader)
      first = reader.line
      first = reader.line while first && first.empty?
      return nil unless first

      headers = []
      until (line = reader.line).to_s.empty?
        name, value = line.split(":", 2)
        raise Malformed, "not a header: #{line.inspect}" unless value

        headers << [name, value.strip]
      end
      Head.new(first, headers)
    end

    # Reads the body that a head announces. Without a length or chunks: empty, or the rest with `until_end`.
    def read_body(reader, head, until_end: false)
      if head["transfer-encoding"].to_s.downcase.include?("chunked")
        read_chunks(reader)
      elsif head["content-length"]
        reader.exactly(Integer(head["content-length"], 10))
      else
        until_end ? reader.rest : String.new(encoding: Encoding::BINARY)
      end
    end

    # Bytes as one chunk of a chunked body.
    def chunk(bytes)
      "#{bytes.bytesize.to_s(16)}\r\n".b << bytes.b << "\r\n"
    end

    # A first line and headers as bytes.
    def head(first_line, headers)
      lines = headers.map { |name, value| "#{name}: #{value}\r\n" }
      "#{first_line}\r\n#{lines.join}\r\n".b
    end

    def read_chunks(reader)
      body = String.new(encoding: Encoding::BINARY)
      loop do
        size = reader.line.to_s[/\A\h+/] || raise(Malformed, "not a chunk size")
        data = reader.exactly(size.hex)
        break reader.line.to_s.empty? || skip_trailers(reader) if data.empty?

        body << data
        reader.exactly(2)
      end
      body
    end
    private_class_method :read_chunks

    def skip_trailers(reader)
      nil until reader.line.to_s.empty?
    end
    private_class_method :skip_trailers
  end
end
