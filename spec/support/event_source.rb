# frozen_string_literal: true

require "io/wait"
require "socket"
require "stringio"
require "uri"
require_relative "clock"
require_relative "gc_pressure"

# One connection of a browser's EventSource: sends a GET request and parses the events as the HTML standard says. It
# never reconnects: examples do that by another one with `last_event_id:`.
class EventSource
  include Clock

  # Seconds to wait for an event.
  TIMEOUT = 8 * GCPressure::SLOWER

  # What was expected did not arrive in time.
  class Timeout < StandardError; end

  # `id` is the EventSource's last event id after the event.
  Event = Struct.new(:type, :data, :id, keyword_init: true)

  # @param url [String]
  # @param last_event_id [String, nil] sent if it is not nil
  # @param headers [Hash{String => String}] further headers
  def initialize(url, last_event_id: nil, headers: {}, method: "GET")
    uri = URI(url)
    @socket = TCPSocket.new(uri.host, uri.port)
    @buffer = "".b
    @body = "".b
    @id = ""
    headers = { "Host" => "#{uri.host}:#{uri.port}", "Accept" => "text/event-stream" }.merge(headers)
    headers["Last-Event-ID"] = last_event_id if last_event_id
    lines = headers.map { |name, value| "#{name}: #{value}\r\n" }
    @socket.write("#{method} #{uri.request_uri} HTTP/1.1\r\n#{lines.join}\r\n")
  end

  # @return [String] the last event id
  attr_reader :id

  # @return [Integer] the status of the response
  def status
    head[%r{\AHTTP/1.1 (\d+)}, 1].to_i
  end

  # @return [Hash{String => String}] the response's headers, names in lower case
  def headers
    head.lines.drop(1).to_h { |line| line.chomp.split(": ", 2) }.transform_keys(&:downcase)
  end

  # Waits for the next event.
  # @return [Event, nil] nil at the end of the response
  def next
    deadline = now + TIMEOUT
    while (block = next_block)
      raise Timeout, "no event within #{TIMEOUT} s, but comments" if now > deadline

      event = parse(block)
      return event if event
    end
  end

  # @return [Array<Event>] the events until the response ends
  def to_a
    events = []
    while (event = self.next)
      events << event
    end
    events
  end

  # Waits for the next comment, event or other block.
  # @return [String, nil] its lines; nil at the end of the response
  def next_block
    head
    until (index = @body.index("\n\n"))
      return unless read_chunk
    end
    @body.slice!(0, index + 2).force_encoding(Encoding::UTF_8)
  end

  # @return [String, nil] the body as it arrives, for a compressed one
  def next_chunk
    read_chunk && @body.slice!(0..)
  end

  # @return [String] the rest of the body as it comes, for responses with another status
  def rest
    head
    nil while read_chunk
    @body.slice!(0..)
  end

  # Leaves, in an orderly way or by a reset.
  # @param how [Symbol] :fin or :rst
  def leave(how = :fin)
    return if @socket.closed?

    @socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii")) if how == :rst
    @socket.close
  end

  private

  def head
    @head ||= begin
      head = read_until("\r\n\r\n") or raise Timeout, "the connection was closed without a response"
      head.chomp("\r\n\r\n")
    end
  end

  # Reads one chunk of the body, or the whole body if it has a length. Returns false at its end.
  def read_chunk
    chunked = !headers.key?("content-length")
    size = chunked ? read_until("\r\n").to_s.to_i(16) : headers["content-length"].to_i - @body.bytesize
    return false if size.zero?

    read_more until @buffer.bytesize >= size || @closed
    @body << @buffer.slice!(0, size)
    read_until("\r\n") if chunked
    !@closed
  end

  def read_until(mark)
    read_more until @buffer.include?(mark) || @closed
    @buffer.slice!(0, @buffer.index(mark) + mark.bytesize) if @buffer.include?(mark)
  end

  def read_more
    raise Timeout, "nothing within #{TIMEOUT} s after #{@body.inspect}" unless @socket.wait_readable(TIMEOUT)

    @buffer << @socket.readpartial(65_536)
  rescue EOFError, Errno::ECONNRESET
    @closed = true
  end

  def parse(block)
    type = "message"
    data = []
    block.each_line(chomp: true) do |line|
      name, _, value = line.b.partition(":")
      value = value.delete_prefix(" ").force_encoding(Encoding::UTF_8)
      case name
      when "data" then data << value
      when "id" then @id = value
      when "event" then type = value
      end
    end
    Event.new(type: type, data: data.join("\n"), id: @id) if data.any?
  end
end
