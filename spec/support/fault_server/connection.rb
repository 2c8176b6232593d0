# frozen_string_literal: true

require "socket"
require "uri"
require_relative "../clock"
require_relative "player"
require_relative "wire"

class FaultServer
  # One connection: reads requests, plays the scripted responses, and records who closed the connection and how.
  class Connection
    include Clock

    # The client closed the connection.
    class ClientGone < IOError; end

    # The scripted response closed the connection.
    class Closed < StandardError; end

    attr_reader :number, :reader

    def initialize(socket, session)
      @socket = socket
      @session = session
      @number = session.journal.number(:connection)
      @reader = Wire::Reader.new(socket)
      @wakeup, @notifier = IO.pipe
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      session.journal.record(:connected, connection: number)
    end

    # Serves the connection to its end.
    def serve
      steps = @session.script.take_connect
      Player.new(self, nil, @session).play(steps) if steps
      nil while serve_request
    rescue Closed
      nil # By the scripted response, and already recorded.
    rescue SystemCallError, IOError => e
      note_closed(:client, e.is_a?(Errno::ECONNRESET) ? :rst : :fin)
    rescue StandardError => e
      @session.journal.record(:failure, connection: number, message: e.full_message(highlight: false))
    ensure
      [@socket, @wakeup, @notifier].each(&:close)
    end

    def write(bytes)
      @socket.write(bytes)
    end

    # Closes in an orderly way. Reads first what the client has sent: closing with unread bytes would send a reset.
    def fin
      note_closed(:server, :fin)
      begin
        @socket.close_write
        nil while @socket.read_nonblock(65_536, exception: false).is_a?(String)
      rescue SystemCallError, IOError
        nil # The client closed first.
      end
      @socket.close
      raise Closed
    end

    # Closes with a reset: bytes that have not arrived are lost.
    def rst
      note_closed(:server, :rst)
      @socket.setsockopt(Socket::Option.linger(true, 0))
      @socket.close
      raise Closed
    end

    # Ends the connection from another thread. Ends any wait of the connection's own thread.
    def abort
      @socket.shutdown(Socket::SHUT_RDWR)
      @notifier.write_nonblock(".", exception: false)
    rescue SystemCallError, IOError
      nil # Closed already.
    end

    # Waits at a gate. Unless `patient`, the wait ends when the client closes the connection.
    def wait_at(gate, patient:)
      @session.journal.record(:waiting, connection: number, gate: gate)
      @session.gates.notifying(@notifier) do
        until @session.gates.pass?(gate)
          raise Closed if @session.over?

          wait_for_change(nil, patient: patient)
        end
      end
    end

    # Waits for this many seconds, or forever if nil.
    def pause(seconds)
      deadline = seconds && (now + seconds)
      loop do
        left = deadline && (deadline - now)
        return if left && !left.positive?

        wait_for_change(left, patient: false)
      end
    end

    # The sockets to watch for a close by the client. Raises ClientGone if it has already closed. Empty if its next
    # request has arrived: the socket then remains readable, so that a close cannot be seen.
    def watched
      return [] if reader.buffered?

      case @socket.recv_nonblock(1, Socket::MSG_PEEK, exception: false)
      when :wait_readable then [@socket]
      when nil, "" then raise ClientGone
      else []
      end
    end

    private

    # Waits for a notification, a close by the client, or the time limit.
    def wait_for_change(seconds, patient:)
      ready, = IO.select([@wakeup, *(patient ? [] : watched)], nil, nil, seconds)
      @wakeup.read_nonblock(4096, exception: false) if ready&.include?(@wakeup)
    end

    # Reads a request and plays its response. Returns true if the connection can serve another, and otherwise closes it.
    def serve_request
      head = Wire.read_head(reader) || raise(ClientGone)
      request = parse(head)
      rule = @session.take(request)
      request[:body] = Wire.read_body(reader, head) unless rule && rule.read_body == false
      keep = respond_to_request(@session.journal.record(:request, **request), rule)
      keep && !head["connection"].to_s.casecmp?("close") ? true : fin
    rescue Wire::Malformed, ArgumentError => e
      @session.journal.record(:malformed, connection: number, message: e.message)
      write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      fin
    end

    # Plays the response to a request. Returns whether the connection can serve another.
    def respond_to_request(request, rule)
      keep = Player.new(self, request, @session).play(rule ? rule.steps : unscripted(request))
      note_responded(request)
      keep && request[:body]
    rescue Closed
      note_responded(request)
      raise
    end

    def note_responded(request)
      @session.journal.record(:responded, connection: number, number: request[:number])
    end

    def parse(head)
      method, target, version = head.first_line.split(" ", 3)
      raise Wire::Malformed, "not a request: #{head.first_line.inspect}" unless version.to_s.start_with?("HTTP/1.")

      path, query = target.split("?", 2)
      {
        number: nil, connection: number, verb: method, target: target, path: path,
        query: query, params: URI.decode_www_form(query.to_s).to_h, headers: head.headers, body: nil
      }
    end

    def unscripted(request)
      message = "The fault server has no reply for #{request[:verb]} #{request[:target]}.\n"
      [[:respond, 501, "Not Scripted", { "content-type" => "text/plain" }, message, message.bytesize]]
    end

    def note_closed(side, how)
      @session.journal.record(:closed, connection: number, by: side, how: how) unless @noted
      @noted = true
    end
  end
end
