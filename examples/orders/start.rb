#!/usr/bin/env ruby
# frozen_string_literal: true

# Starts the shop: a Durable Streams server, web processes, and workers. See README.md.
#
#   ruby examples/orders/start.rb
#   WORKERS=10 PORT=8080 ruby examples/orders/start.rb
#
# A web process or a worker that is killed is started again. Ctrl-C stops everything. Nothing remains: the server has
# its streams in memory, and the database is in a temporary folder.
require "English"
require "rbconfig"
require "tmpdir"

$LOAD_PATH.unshift(File.expand_path("../../lib", __dir__))
require_relative "database"

# The processes of the shop.
class Fleet
  # Where bin/setup installs the Node reference server.
  SERVER = File.expand_path("../../.server/node/node_modules/@durable-streams/server", __dir__)
  # A process that ends by itself within so many seconds of its start would do so again and again.
  TOO_SOON = 1
  Child = Struct.new(:name, :command, :started)

  # @param folder [String] for the database
  # @param workers [Integer] how many processes ship orders
  # @param lease_ttl [Numeric] seconds after which the streams of a killed worker go to another one
  def initialize(folder, workers:, lease_ttl:)
    @folder = folder
    @workers = workers
    @lease_ttl = lease_ttl
    @running = {}
    @stopping = false
  end

  # Returns when a signal has ended everything.
  # @return [Boolean] false if a process that cannot be started again has ended everything
  def run
    %w[INT TERM].each { |signal| trap(signal) { stop } }
    start_streams
    prepare
    start("web", RbConfig.ruby, Gem.bin_path("puma", "puma"), "-C", File.join(__dir__, "puma.rb"))
    @workers.times { |number| start("worker #{number + 1}", RbConfig.ruby, File.join(__dir__, "worker.rb")) }
    supervise
  ensure
    stop
    wait_for_end
  end

  private

  def start_streams
    output, input = IO.pipe
    @streams = start("streams", "node", File.join(__dir__, "streams.mjs"), SERVER, 3 => input)
    input.close
    url = output.gets or abort("The Durable Streams server did not start. Has bin/setup installed it?")
    ENV["STREAMS_URL"] = "#{url.chomp}/v1/stream"
    puts "streams: #{ENV["STREAMS_URL"]}"
  end

  def prepare
    ENV["DATABASE"] = File.join(@folder, "shop.sqlite3")
    puts "database: #{ENV["DATABASE"]}"
    Shop.connect
    Shop.create_tables
    Shop.create_streams(lease_ttl: @lease_ttl)
  end

  # Starts processes again when they end.
  def supervise
    until @stopping
      pid = Process.wait
      child = @running.delete(pid)
      next if @stopping

      puts "#{child.name}: process #{pid} ended"
      return false if pid == @streams || (!$CHILD_STATUS.signaled? && now - child.started < TOO_SOON)

      start(child.name, *child.command)
    end
    true
  end

  # In a process group of its own, because a terminal sends Ctrl-C to the whole group.
  def start(name, *command, **options)
    pid = Process.spawn({ "RUBYLIB" => $LOAD_PATH.first }, *command, pgroup: true, **options)
    @running[pid] = Child.new(name, command, now)
    puts "#{name}: process #{pid}"
    stop if @stopping
    pid
  end

  # Ends all processes but the server, which the others need to end in order. Also called by trap handlers.
  def stop
    @stopping = true
    @running.each_key { |pid| terminate(pid) unless pid == @streams }
  end

  def terminate(pid)
    Process.kill(:TERM, pid)
  rescue Errno::ESRCH
    nil # It has ended, and Process.wait has just returned it.
  end

  def wait_for_end
    @running.delete(Process.wait) until (@running.keys - [@streams]).empty?
    return unless @running.key?(@streams)

    terminate(@streams)
    Process.wait(@streams)
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end

$stdout.sync = true
ended = Dir.mktmpdir("orders-") do |folder|
  workers = Integer(ENV.fetch("WORKERS", "3"))
  Fleet.new(folder, workers: workers, lease_ttl: Float(ENV.fetch("LEASE_TTL", "10"))).run
end
exit(ended)
