# frozen_string_literal: true

require "socket"
require "uri"
require_relative "../clock"
require_relative "player"
require_relative "wire"

class FaultServer
  # One connection: reads requests, has the script's replies played, and notes who closed it and how.
  class Connection
    include Clock

    # The client is gone: nothing more can be played to it.
    class ClientGone < IOError; end

    # The script closed the connection.
    class Closed < StandardError; end

    attr_reader :number, :reader

    def initialize(socket, session)
      @socket = socket
      @session = session
      @number = session.journal.number(:connection)
      @reader = Wire::Reader.new(socket)
      @ear, @bell = IO.pipe
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      session.journal.record(:connected, connection: number)
    end

    # Serves the connection to its end.
    def serve
      steps = @session.script.take_connect
      Player.new(self, nil, @session).play(steps) if steps
      nil while serve_request
    rescue Closed
      nil # By the script, which noted it.
    rescue SystemCallError, IOError => e
      note_closed(:client, e.is_a?(Errno::ECONNRESET) ? :rst : :fin)
    rescue StandardError => e
      @session.journal.record(:failure, connection: number, message: e.full_message(highlight: false))
    ensure
      [@socket, @ear, @bell].each(&:close)
    end

    def write(bytes)
      @socket.write(bytes)
    end

    # Closes in an orderly way. What the client has sent is read first: a close over unread bytes would be a reset.
    def fin
      note_closed(:server, :fin)
      begin
        @socket.close_write
        nil while @socket.read_nonblock(65_536, exception: false).is_a?(String)
      rescue SystemCallError, IOError
        nil # The client was faster.
      end
      @socket.close
      raise Closed
    end

    # Closes with a reset: what was not delivered is lost.
    def rst
      note_closed(:server, :rst)
      @socket.setsockopt(Socket::Option.linger(true, 0))
      @socket.close
      raise Closed
    end

    # Ends the connection from another thread: whatever it waits for ends.
    def abort
      @socket.shutdown(Socket::SHUT_RDWR)
      @bell.write_nonblock(".", exception: false)
    rescue SystemCallError, IOError
      nil # Closed already.
    end

    # Waits at a gate. Unless `patient`, a client that goes away ends the wait.
    def wait_at(gate, patient:)
      @session.journal.record(:waiting, connection: number, gate: gate)
      @session.gates.listening(@bell) do
        until @session.gates.pass?(gate)
          raise Closed if @session.over?

          listen(nil, patient: patient)
        end
      end
    end

    # Waits for so many seconds, or for ever if that is nil.
    def pause(seconds)
      deadline = seconds && (now + seconds)
      loop do
        left = deadline && (deadline - now)
        return if left && !left.positive?

        listen(left, patient: false)
      end
    end

    # The client's socket, to be selected for the client's going away; ClientGone if it is gone already. None if its
    # next request is there: then the socket is readable all the time and tells nothing.
    def watched
      return [] if reader.buffered?

      case @socket.recv_nonblock(1, Socket::MSG_PEEK, exception: false)
      when :wait_readable then [@socket]
      when nil, "" then raise ClientGone
      else []
      end
    end

    private

    # Waits for the bell, for the client to go away, or for the time.
    def listen(seconds, patient:)
      ready, = IO.select([@ear, *(patient ? [] : watched)], nil, nil, seconds)
      @ear.read_nonblock(4096, exception: false) if ready&.include?(@ear)
    end

    # Reads a request and plays its reply. Returns true to go on; otherwise closes.
    def serve_request
      head = Wire.read_head(reader) || raise(ClientGone)
      request = parse(head)
      rule = @session.take(request)
      request[:body] = Wire.read_body(reader, head) unless rule && rule.read_body == false
      keep = reply(@session.journal.record(:request, **request), rule)
      keep && !head["connection"].to_s.casecmp?("close") ? true : fin
    rescue Wire::Malformed, ArgumentError => e
      @session.journal.record(:malformed, connection: number, message: e.message)
      write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      fin
    end

    # Plays the reply to a request. Returns whether the connection can serve another.
    def reply(request, rule)
      keep = Player.new(self, request, @session).play(rule ? rule.steps : unscripted(request))
      note_answered(request)
      keep && request[:body]
    rescue Closed
      note_answered(request)
      raise
    end

    def note_answered(request)
      @session.journal.record(:answered, connection: number, number: request[:number])
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
