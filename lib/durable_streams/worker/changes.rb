# frozen_string_literal: true

module DurableStreams
  class Worker
    # What the threads of a running worker wait for. Every change wakes all of them.
    # @api private
    class Changes
      def initialize
        @lock = Mutex.new
        @changed = ConditionVariable.new
      end

      def synchronize(&block)
        @lock.synchronize(&block)
      end

      # Waits for a change, or so many seconds. Call it in {#synchronize}.
      # @param seconds [Numeric, nil] nil: without limit
      def wait(seconds = nil)
        @changed.wait(@lock, seconds)
      end

      # Wakes all waiting threads.
      def notify
        @changed.broadcast
      end

      # Makes a change, and wakes all waiting threads.
      # @return [Object] the block's value
      def change
        synchronize do
          value = yield
          notify
          value
        end
      end
    end
  end
end
