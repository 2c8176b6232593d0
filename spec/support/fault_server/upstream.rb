# frozen_string_literal: true

require "socket"
require "uri"
require_relative "wire"

class FaultServer
  # The real server to which a scripted response passes its request. Every request uses a new connection.
  class Upstream
    # The real server could not be reached, or closed the connection before the end of its response.
    class Failed < StandardError; end

    # Headers that concern one connection only and are not passed on.
    PER_CONNECTION = %w[connection keep-alive transfer-encoding content-length].freeze

    Response = Struct.new(:head, :body) do
      def status
        Integer(head.first_line.split[1], 10)
      end
    end

    def initialize(url)
      uri = URI(url)
      @host = uri.hostname
      @port = uri.port
    end

    # Sends the request and returns the whole Response.
    def exchange(request)
      connect(request) do |socket|
        reader = Wire::Reader.new(socket)
        head = Wire.read_head(reader) || raise(EOFError, "closed without a response")
        Response.new(head, request[:verb] == "HEAD" ? "" : Wire.read_body(reader, head, until_end: true))
      end
    rescue SystemCallError, IOError => e
      raise Failed, e.message
    end

    # Sends the request and yields the bytes of the response as they arrive, until it ends or the client closes.
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
