# frozen_string_literal: true

require "json"
require "socket"
require "uri"

module Bench
  # A socket without an HTTP library: the minimum that a request costs in Ruby. Requires responses with Content-Length.
  class BareConnection
    # @param url [String] of a JSON stream
    def initialize(url)
      uri = URI(url)
      @path = uri.path
      @host = "#{uri.host}:#{uri.port}"
      @socket = TCPSocket.new(uri.host, uri.port)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    end

    # @param message [String] JSON
    def append(message)
      body = "[#{message}]"
      head, = request("POST #{@path}", "content-type: application/json\r\ncontent-length: #{body.bytesize}\r\n", body)
      raise "append: #{head.lines.first}" unless head.start_with?("HTTP/1.1 20")
    end

    # Yields each item of the stream by long-polling. Never returns.
    # @yieldparam item [Object]
    def tail(&block)
      query = "offset=-1"
      loop do
        head, body = request("GET #{@path}?#{query}")
        offset = head[/^stream-next-offset: (\S+)/i, 1] or raise "read: #{head.lines.first}"
        JSON.parse(body).each(&block) unless body.empty?
        query = "live=long-poll&offset=#{offset}"
      end
    end

    private

    # @return [Array(String, String)] an response's head and body
    def request(line, headers = "", body = "")
      @socket.write("#{line} HTTP/1.1\r\nhost: #{@host}\r\n#{headers}\r\n#{body}")
      response = +""
      response << @socket.readpartial(16_384) until (head = response.index("\r\n\r\n"))
      size = response[/^content-length: (\d+)/i, 1].to_i
      response << @socket.readpartial(16_384) until response.bytesize >= head + 4 + size
      [response[0, head], response.byteslice(head + 4, size)]
    end
  end
end
