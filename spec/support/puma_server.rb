# frozen_string_literal: true

# Puma in this process, so that examples can count its free threads.
class PumaServer
  HOST = "127.0.0.1"

  # @param app [#call] a Rack application
  # @param threads [Integer] how many requests it serves at a time
  def initialize(app, threads: 5)
    require "puma"
    require "puma/server"
    @server = build(app, min_threads: threads, max_threads: threads, force_shutdown_after: 0)
    @port = @server.add_tcp_listener(HOST, 0).addr[1]
    @server.run
  end

  # @return [Integer]
  attr_reader :port

  # @return [String]
  def url(path = "")
    "http://#{HOST}:#{port}#{path}"
  end

  # @return [Integer] how many threads have nothing to do
  def free_threads
    @server.pool_capacity
  end

  # Stops it. Requests that are being served are interrupted.
  def stop
    @server.stop(true)
  end

  private

  # Puma 5 takes an object that it writes to; Puma 6 has it among the options.
  def build(app, **options)
    require "puma/events"
    return Puma::Server.new(app, Puma::Events.strings, options) if Puma::Events.respond_to?(:strings)

    require "puma/log_writer"
    Puma::Server.new(app, nil, options.merge(log_writer: Puma::LogWriter.strings))
  end
end
