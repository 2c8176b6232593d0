# frozen_string_literal: true

require "timeout"
require_relative "clock"

# Runs a consumer in forked processes, one after the other, and kills each but the last one with kill -9 at a random
# moment. Each has everything loaded that this process has, so it begins at once.
class KilledConsumers
  include Clock

  # Seconds that a process may take until its first batch, and the last one until its end.
  TIME_LIMIT = 120
  # The most seconds after a process's first batch, or after its start, until it is killed.
  LONGEST = 0.01

  # @param kills [Integer]
  # @yield in each process; it runs the consumer
  # @yieldparam number [Integer] of the process
  # @yieldparam begun [#call] to call in the consumer's block
  def initialize(kills, &consume)
    @kills = kills
    @consume = consume
  end

  # Lets one process after the other be killed.
  # @return [Array<Float>] how many seconds each was alive
  def run
    Array.new(@kills) { |number| timed { start(number) { |pid, begun| kill(pid, begun, number) } } }
  end

  # Lets the last process run to its end.
  # @raise [RuntimeError] if it fails
  def finish
    start(@kills) do |pid, _|
      status = Timeout.timeout(TIME_LIMIT) { Process.wait2(pid).last }
      raise "the last consumer ended with #{status}" unless status.success?
    end
  end

  private

  def start(number)
    begun, begin_now = IO.pipe
    pid = Process.fork { consume(number, begin_now) }
    begin_now.close
    yield pid, begun
  ensure
    begun.close
  end

  def consume(number, begin_now)
    @consume.call(number, -> { begin_now.write_nonblock(".", exception: false) })
    status = 0
  rescue Exception => e # rubocop:disable Lint/RescueException -- printed, and reported by the exit status
    warn(e.full_message)
  ensure
    Process.exit!(status || 1)
  end

  # Every third process may be killed before its first batch.
  def kill(pid, begun, number)
    raise "consumer #{number} had no batch" unless (number % 3).zero? || begun.wait_readable(TIME_LIMIT)

    sleep(rand * LONGEST) # Any moment will do.
    Process.kill("KILL", pid)
    status = Process.wait2(pid).last
    raise "consumer #{number} ended by itself with #{status}" unless status.signaled?
  end
end
