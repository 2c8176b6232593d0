# frozen_string_literal: true

require "socket"
require_relative "connection"
require_relative "gates"
require_relative "journal"
require_relative "script"

class FaultServer
  # A listening port with its script, its journal and its connections. Every example has its own session.
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

    # Numbers a request and returns its rule, or nil. Does both at once, so that the first request gets the first rule.
    def take(request)
      @mutex.synchronize do
        request[:number] = journal.number(:request)
        script.take(request)
      end
    end

    # Opens the port, or opens it again. 0 stands for any free port.
    def listen(port = @port)
      @listener = TCPServer.new("127.0.0.1", port)
      @port = @listener.addr[1]
      @acceptor = Thread.new(@listener) { |listener| accept_from(listener) }
    end

    # Closes the port: new connections are refused. Open connections continue. May be called twice.
    def refuse
      return if @listener.closed?

      @listener.shutdown
    rescue Errno::ENOTCONN
      nil # Some systems raise this for every listener.
    ensure
      @listener.close
      @acceptor.join
    end

    # Closes the port and all connections.
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
