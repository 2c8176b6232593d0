# frozen_string_literal: true

require "socket"
require "uri"
require_relative "wire"

class FaultServer
  # The real server behind a proxying reply. Each request has a connection of its own.
  class Upstream
    # The real server could not be reached, or broke off.
    class Failed < StandardError; end

    # Headers that are about one connection and are not passed on.
    PER_CONNECTION = %w[connection keep-alive transfer-encoding content-length].freeze

    Answer = Struct.new(:head, :body) do
      def status
        Integer(head.first_line.split[1], 10)
      end
    end

    def initialize(url)
      uri = URI(url)
      @host = uri.hostname
      @port = uri.port
    end

    # Sends the request and returns the whole Answer.
    def exchange(request)
      connect(request) do |socket|
        reader = Wire::Reader.new(socket)
        head = Wire.read_head(reader) || raise(EOFError, "closed without an answer")
        Answer.new(head, request[:verb] == "HEAD" ? "" : Wire.read_body(reader, head, until_end: true))
      end
    rescue SystemCallError, IOError => e
      raise Failed, e.message
    end

    # Sends the request and yields the bytes of the answer as they come, until it ends or the client is gone.
    def relay(request, connection)
      connect(request) do |socket|
        loop do
          ready, = IO.select([socket, *connection.watched])
          next unless ready.include?(socket)

          bytes = socket.read_nonblock(65_536, exception: false)
          break unless bytes

          yield bytes if bytes.is_a?(String)
        end
      end
    end

    private

    def connect(request)
      socket = open_socket
      socket.write(bytes(request))
      yield socket
    ensure
      socket&.close
    end

    def open_socket
      TCPSocket.new(@host, @port)
    rescue SystemCallError => e
      raise Failed, e.message
    end

    def bytes(request)
      headers = request[:headers].reject { |name, _| PER_CONNECTION.include?(name.downcase) }
      headers << ["content-length", request[:body].bytesize] unless request[:body].to_s.empty?
      headers << %w[connection close]
      Wire.head("#{request[:verb]} #{request[:target]} HTTP/1.1", headers) + request[:body].to_s
    end
  end
end
