# frozen_string_literal: true

require "socket"

# Servers that never respond. One never accepts a connection. One accepts connections, reads one byte and sends nothing,
# so clients wait in the TLS handshake, while they send a large body, or for the response.
class StuckServer
  # Never accepts a connection. Its queue is full, so that the operating system does not complete connections either.
  def self.unreachable
    new(&:fill_queue)
  end

  # Accepts connections and never sends anything.
  def self.silent
    new(&:accept_silently)
  end

  # @return [Integer]
  attr_reader :port

  def initialize
    @server = Socket.new(:INET, :STREAM)
    @server.bind(Addrinfo.tcp("127.0.0.1", 0))
    @port = @server.local_address.ip_port
    @arrived = Thread::Queue.new
    @sockets = []
    yield self
  end

  # Waits until the first byte of a request has arrived.
  def wait_for_arrival
    @arrived.pop
  end

  def stop
    @thread&.kill&.join
    (@sockets + [@server]).each(&:close)
  end

  # @api private
  def fill_queue
    @server.listen(0)
    # More than fit into the queue. None is ever accepted.
    4.times do
      @sockets << (socket = Socket.new(:INET, :STREAM))
      socket.connect_nonblock(@server.local_address, exception: false)
    end
  end

  # @api private
  def accept_silently
    @server.listen(16)
    @thread = Thread.new do
      loop do
        socket, = @server.accept
        @sockets << socket
        @arrived << true if first_byte?(socket)
      end
    end
  end

  private

  # False if the client was interrupted before it sent anything.
  def first_byte?(socket)
    !socket.read(1).nil?
  rescue SystemCallError
    false
  end
end
