# frozen_string_literal: true

require "tempfile"
require_relative "child_process"
require_relative "clock"

# Worker processes that are killed at random while events are appended to many streams. They note what they handle in
# one file, a line for each event, in the order of time.
class KilledWorkers
  include Clock

  # The program of a worker: base_url, file, subscriptions.
  PROGRAM = <<~RUBY
    url, file, *ids = ARGV
    file = File.open(file, "a")
    worker = DurableStreams::Worker.new(DurableStreams::Client.new(base_url: url), ids)
    trap("TERM") { worker.stop }
    worker.run do |stream, batch|
      batch.items.each do |n|
        file.syswrite("\#{stream.path} \#{n} \#{Process.clock_gettime(Process::CLOCK_MONOTONIC)}\\n")
        sleep 0.01 # so that some are killed in the middle of a batch
      end
    end
  RUBY

  # An event as a worker has handled it.
  Handled = Struct.new(:path, :number, :time)

  # @return [Array<Float>] when processes were killed
  attr_reader :kills

  # @param url [String] of the stream root
  # @param ids [Array<String>] the subscriptions
  # @param processes [Integer]
  def initialize(url, ids, processes:)
    @file = Tempfile.new("handled")
    @arguments = [url, @file.path, *ids]
    @kills = []
    @random = Random.new(RSpec.configuration.seed)
    @workers = Array.new(processes) { start }
  end

  # Kills one of the processes, and starts another.
  def kill_one
    index = @random.rand(@workers.size)
    Process.kill(:KILL, @workers[index].pid)
    @workers[index].ended
    @kills << now
    @workers[index] = start
  end

  # @return [Float] seconds until the next kill
  def pause
    @random.rand(0.3..1.5)
  end

  # Ends the processes.
  # @return [Array<ChildProcess::Ended>]
  def stop
    @workers.each { |worker| worker.signal(:TERM) }
    @workers.map(&:ended)
  end

  # @return [Array<Handled>]
  def handled
    File.readlines(@file.path).map do |line|
      path, number, time = line.split
      Handled.new(path, Integer(number, 10), Float(time))
    end
  end

  private

  def start
    ruby = [RbConfig.ruby, "-I", ChildProcess::LIB, "-r", "durable_streams", "-e", PROGRAM, "--"]
    ChildProcess.command({}, *ruby, *@arguments, timeout: 600)
  end
end
