# frozen_string_literal: true

require_relative "clock"

# A number that only increases, and that threads can wait for.
class Count
  include Clock

  # The number was not reached in time.
  class Timeout < StandardError; end

  def initialize
    @value = 0
    @lock = Mutex.new
    @changed = ConditionVariable.new
  end

  # @return [Integer]
  def value
    @lock.synchronize { @value }
  end

  # @param number [Integer]
  def add(number)
    @lock.synchronize do
      @value += number
      @changed.broadcast
    end
  end

  # Makes every #wait_for raise the error: the number will not increase any more.
  # @param error [Exception]
  def fail(error)
    @lock.synchronize do
      @error = error
      @changed.broadcast
    end
  end

  # Waits until the count is at least this number.
  # @param number [Integer]
  # @param limit [Numeric] seconds to wait at most
  # @raise [Timeout, Exception] the latter is what #fail was given
  def wait_for(number, limit)
    deadline = now + limit
    @lock.synchronize do
      while @value < number
        raise @error if @error

        left = deadline - now
        raise Timeout, "#{@value} of #{number} after #{limit} s" unless left.positive?

        @changed.wait(@lock, left)
      end
    end
  end
end
