# frozen_string_literal: true

require "socket"
require_relative "connection"
require_relative "gates"
require_relative "journal"
require_relative "script"

class FaultServer
  # A listening port with its script, its journal and its connections: everything that one example has to do with.
  class Session
    attr_reader :script, :journal, :gates, :port

    def initialize
      @script = Script.new
      @journal = Journal.new
      @gates = Gates.new
      @mutex = Mutex.new
      @connections = []
      listen(0)
    end

    # Whether the session was closed.
    def over?
      @over
    end

    # Numbers a request, and gives the rule for it, or nil: of two requests the first gets the first rule.
    def take(request)
      @mutex.synchronize do
        request[:number] = journal.number(:request)
        script.take(request)
      end
    end

    # Opens the port (again); 0 is any that is free.
    def listen(port = @port)
      @listener = TCPServer.new("127.0.0.1", port)
      @port = @listener.addr[1]
      @acceptor = Thread.new(@listener) { |listener| accept_from(listener) }
    end

    # Closes the port: connecting is refused. Open connections go on. Twice is fine.
    def refuse
      return if @listener.closed?

      @listener.shutdown
    rescue Errno::ENOTCONN
      nil # Some systems say so of any listener.
    ensure
      @listener.close
      @acceptor.join
    end

    # Ends everything.
    def close
      @over = true
      refuse
      @mutex.synchronize { @connections.dup }.each(&:abort)
    end

    private

    def accept_from(listener)
      loop do
        socket = listener.accept
        Thread.new { serve(socket) }
      end
    rescue IOError, SystemCallError
      nil # The listener was closed.
    end

    def serve(socket)
      connection = Connection.new(socket, self)
      @mutex.synchronize { @connections << connection }
      connection.abort if over?
      connection.serve
    ensure
      @mutex.synchronize { @connections.delete(connection) }
    end
  end
end
