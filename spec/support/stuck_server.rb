# frozen_string_literal: true

require "openssl"
require "socket"
require "tmpdir"

# Servers that stop answering below HTTP: before the connection is there, in the TLS handshake, in the middle of a
# request's body. What they wait for never comes; `stop` ends them.
class StuckServer
  # Never takes a connection: its queue is full, so that the system does not answer either.
  def self.unreachable
    new(&:fill_queue)
  end

  # Takes a connection, and never says anything after the first byte it was sent.
  def self.silent
    new(&:take_and_keep)
  end

  # @return [Integer]
  attr_reader :port

  def initialize
    @server = Socket.new(:INET, :STREAM)
    @server.bind(Addrinfo.tcp("127.0.0.1", 0))
    @port = @server.local_address.ip_port
    @arrived = Thread::Queue.new
    @held = []
    yield self
  end

  # Waits until a request has come as far as it can come.
  def wait_for_arrival
    @arrived.pop
  end

  def stop
    @thread&.kill&.join
    (@held + [@server]).each(&:close)
  end

  # @api private
  def fill_queue
    @server.listen(0)
    # Some more than fit, none of which is ever accepted.
    4.times do
      @held << (socket = Socket.new(:INET, :STREAM))
      socket.connect_nonblock(@server.local_address, exception: false)
    end
  end

  # @api private
  def take_and_keep
    @server.listen(16)
    @thread = Thread.new do
      loop do
        socket, = @server.accept
        @held << socket
        @arrived << true if first_byte?(socket)
      end
    end
  end

  private

  # Whether there is one: a client may be interrupted before it sends anything.
  def first_byte?(socket)
    !socket.read(1).nil?
  rescue SystemCallError
    false
  end
end
