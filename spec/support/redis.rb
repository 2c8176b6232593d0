# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"
require_relative "clock"

# A real redis-server on a free port, which stores nothing on disk. Independent of RSpec and of the redis gem.
#
# Examples use `redis_url`: one server for the whole run. Give keys names of their own.
class RedisServer
  include Clock

  # It did not start.
  class StartError < StandardError; end

  HOST = "127.0.0.1"
  # The folders that may contain it.
  FOLDERS = [*ENV.fetch("PATH", "").split(File::PATH_SEPARATOR), "/usr/bin"].freeze
  # Seconds within which it must respond.
  START_TIMEOUT = 20
  # Another process may take the free port before the server binds it.
  START_ATTEMPTS = 5

  class << self
    # @return [String, nil] the path of the program
    def program
      FOLDERS.map { |folder| File.join(folder, "redis-server") }.find { |file| File.executable?(file) }
    end

    # @return [RedisServer] the run's server; the first call starts it
    def shared
      @shared ||= new
    end

    # Stops the run's server, if there is one.
    def stop
      @shared&.stop
      @shared = nil
    end
  end

  # @return [Integer]
  attr_reader :port

  # Starts it, and waits until it responds.
  # @raise [StartError]
  def initialize
    raise StartError, "there is no redis-server; bin/setup installs it" unless self.class.program

    @folder = Dir.mktmpdir("durable-streams-redis-")
    @owner = Process.pid
    START_ATTEMPTS.times { return if launch }
    raise StartError, "redis-server: #{log}"
  rescue StandardError
    stop
    raise
  end

  # @return [String]
  def url
    "redis://#{HOST}:#{port}/0"
  end

  # Ends the server, as a crash would. In a forked child this does nothing.
  def kill
    return unless Process.pid == @owner && @waiter&.alive?

    Process.kill("KILL", @pid)
    @waiter.join
  end

  # Starts the server again on the same port, empty.
  # @raise [StartError]
  def restart
    kill
    raise StartError, "redis-server: #{log}" unless launch(port)
  end

  # Ends the server and removes its files. In a forked child this does nothing.
  def stop
    kill
    FileUtils.rm_rf(@folder) if @folder && Process.pid == @owner
  end

  private

  # @return [Boolean] whether it responds
  def launch(port = TCPServer.open(HOST, 0) { |socket| socket.addr[1] })
    @port = port
    @pid = Process.spawn(self.class.program, "--bind", HOST, "--port", @port.to_s, "--save", "", "--appendonly", "no",
                         "--dir", @folder, in: File::NULL, out: log_path, err: log_path)
    @waiter = Process.detach(@pid)
    deadline = now + START_TIMEOUT
    Thread.pass until (up = responds?) || !@waiter.alive? || now > deadline
    up && @waiter.alive?
  end

  def responds?
    TCPSocket.open(HOST, @port) do |socket|
      socket.write("PING\r\n")
      socket.gets == "+PONG\r\n"
    end
  rescue SystemCallError
    false
  end

  def log_path
    File.join(@folder, "redis.log")
  end

  def log
    File.exist?(log_path) ? File.readlines(log_path).last(3).join.strip : "did not start"
  end
end

# `redis_url` in every example.
module RedisHelpers
  # @return [String] the URL of the run's Redis server
  def redis_url
    RedisServer.shared.url
  end
end

if defined?(RSpec.configure)
  RSpec.configure do |config|
    config.include RedisHelpers
    config.after(:suite) { RedisServer.stop }
  end
end
