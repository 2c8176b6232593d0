# frozen_string_literal: true

require "io/nonblock"
require "socket"
require_relative "clock"

# A minimal but complete Fiber scheduler on IO.select. It implements the interface that Ruby documents and nothing else,
# so that code that works under it works under other schedulers.
#
#   SmallScheduler.run { |scheduler| Fiber.schedule { … } }   # returns when all fibers have ended
class SmallScheduler
  include Clock

  # Ends a timer that is no longer needed.
  Stopped = Class.new(StandardError)
  private_constant :Stopped

  # Runs a block in a new thread under a scheduler, and waits until all fibers have ended.
  # @return [Object] the block's value
  def self.run
    Thread.new do
      Thread.current.report_on_exception = false
      scheduler = new
      Fiber.set_scheduler(scheduler)
      yield scheduler
    end.value
  end

  # @return [Integer] how many times fibers waited for an IO
  attr_reader :waits

  def initialize
    @readable = {}.compare_by_identity
    @writable = {}.compare_by_identity
    @due = {}.compare_by_identity
    @blocked = {}.compare_by_identity
    @ready = []
    @interrupted = []
    @lock = Thread::Mutex.new
    @urgent_in, @urgent_out = IO.pipe
    @waits = 0
    @closed = false
  end

  # Runs until no fiber waits.
  def run
    step until idle?
  end

  # Called by Ruby when the thread ends, or the scheduler is replaced.
  def close
    return if @closed

    run
  ensure
    @closed = true
    [@urgent_in, @urgent_out].each(&:close)
  end

  # Raises an error in every waiting fiber, as a scheduler that is being stopped does.
  def cancel_all(error)
    waiting = @readable.values + @writable.values + @blocked.keys + @due.keys
    waiting.uniq.each { |fiber| fiber.raise(error) if fiber.alive? }
  end

  # Drops every waiting fiber: raises nothing in it, and no longer refers to it.
  def forget
    [@readable, @writable, @blocked, @due].each(&:clear)
    @lock.synchronize { @ready.clear }
  end

  # @return [Boolean] whether a fiber waits for something other than an IO or a timer
  def blocking?
    @blocked.any?
  end

  def fiber(&block)
    Fiber.new(blocking: false, &block).tap(&:resume)
  end

  def io_wait(io, events, timeout)
    @waits += 1
    fiber = Fiber.current
    @readable[io] = fiber unless (events & IO::READABLE).zero?
    @writable[io] = fiber unless (events & IO::WRITABLE).zero?
    @due[fiber] = now + timeout if timeout
    Fiber.yield
  ensure
    @readable.delete(io) if @readable[io].equal?(fiber)
    @writable.delete(io) if @writable[io].equal?(fiber)
    @due.delete(fiber)
  end

  def kernel_sleep(duration = nil)
    block(:sleep, duration)
    true
  end

  def block(_blocker, timeout = nil)
    fiber = Fiber.current
    @due[fiber] = now + timeout if timeout
    @blocked[fiber] = true
    Fiber.yield
  ensure
    @blocked.delete(fiber)
    @due.delete(fiber)
  end

  # May be called from any thread.
  def unblock(_blocker, fiber)
    @lock.synchronize { @ready << fiber }
    @urgent_out.write_nonblock(".", exception: false)
  end

  # Raises an error in a waiting fiber. May be called from any thread. Ruby 4.0 requires it.
  def fiber_interrupt(fiber, error)
    @lock.synchronize { @interrupted << [fiber, error] }
    @urgent_out.write_nonblock(".", exception: false)
  end

  def timeout_after(duration, error, message)
    caller = Fiber.current
    fired = false
    timer = fiber do
      kernel_sleep(duration)
      fired = true
      caller.raise(error, message)
    rescue Stopped
      nil # in time
    end
    yield(duration)
  ensure
    timer.raise(Stopped) unless fired
  end

  def process_wait(pid, flags)
    Thread.new { Process::Status.wait(pid, flags) }.value
  end

  # Waits until a fiber can continue, and resumes it.
  def step
    readable, writable, = IO.select([*@readable.keys, @urgent_in], @writable.keys, [], time_until_due)
    @urgent_in.read_nonblock(1_024, exception: false) if readable&.include?(@urgent_in)
    fibers = [*@readable.values_at(*readable), *@writable.values_at(*writable)].compact
    fibers.uniq.each { |fiber| resume(fiber, IO::READABLE) }
    @lock.synchronize { @ready.slice!(0..) }.each { |fiber| resume(fiber, true) if @blocked.key?(fiber) }
    interrupt_fibers
    @due.select { |_, at| at <= now }.each_key { |fiber| resume(fiber, false) if @due.key?(fiber) }
  end

  private

  def idle?
    @readable.empty? && @writable.empty? && @blocked.empty? && @due.empty?
  end

  def interrupt_fibers
    @lock.synchronize { @interrupted.slice!(0..) }.each { |fiber, error| fiber.raise(error) if fiber.alive? }
  end

  def resume(fiber, value)
    fiber.resume(value) if fiber.alive?
  end

  def time_until_due
    soonest = @due.values.min
    soonest && [soonest - now, 0].max
  end
end
