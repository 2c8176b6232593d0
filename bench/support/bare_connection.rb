# frozen_string_literal: true

require "json"
require "socket"
require "uri"

module Bench
  # A connection with nothing around it: the least that Ruby does for a request. For answers with a Content-Length.
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

    # Yields each item on the stream, for ever, by long-polling.
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

    # @return [Array(String, String)] an answer's head and body
    def request(line, headers = "", body = "")
      @socket.write("#{line} HTTP/1.1\r\nhost: #{@host}\r\n#{headers}\r\n#{body}")
      answer = +""
      answer << @socket.readpartial(16_384) until (head = answer.index("\r\n\r\n"))
      size = answer[/^content-length: (\d+)/i, 1].to_i
      answer << @socket.readpartial(16_384) until answer.bytesize >= head + 4 + size
      [answer[0, head], answer.byteslice(head + 4, size)]
    end
  end
end
