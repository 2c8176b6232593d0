# frozen_string_literal: true

module DurableStreams
  class Worker
    # The threads of a running worker. One that ends before its work is done, by Thread#kill, is replaced.
    # @api private
    class Threads
      def initialize
        @ended = Thread::Queue.new
        @jobs = {}
        @process = Process.pid
      end

      # Starts a thread.
      # @param name [String]
      # @yield its work
      # @return [nil]
      def start(name, &job)
        # The thread is known before it can end.
        Thread.handle_interrupt(Object => :never) do
          thread = Thread.new { run(job) }
          thread.name = name
          thread.report_on_exception = false
          @jobs[thread] = [name, job]
        end
        nil
      end

      # Makes {#supervise} call the block of its caller. May be called from a trap handler.
      # @param signal [Symbol]
      def signal(signal)
        @ended << signal
        nil
      end

      # Waits until all threads have done their work.
      # @yieldparam event [Symbol, StandardError] a signal, or the exception that has ended a thread
      # @return [nil]
      # @raise [Exception] what has ended a thread, if that is no StandardError
      def supervise
        until @jobs.empty?
          event, done, error = @ended.pop
          next yield(event) if event.is_a?(Symbol)

          event.join # It has nothing more to do.
          name, job = @jobs.delete(event)
          raise error unless error.nil? || error.is_a?(StandardError)

          yield error if error
          start(name, &job) unless done || error
        end
      end

      # @return [Array<Thread>] those of this name
      def named(name)
        @jobs.select { |_, (other)| other == name }.keys
      end

      # Waits until these threads have ended.
      # @param deadline [Float] of CLOCK_MONOTONIC
      def join(threads, deadline)
        threads.each { |thread| thread.join([deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC), 0].max) }
      end

      # Ends all threads.
      def kill
        @jobs.each_key(&:kill)
      end

      private

      def run(job)
        Thread.handle_interrupt(Object => :immediate) { job.call }
        done = true
      rescue Exception => e # rubocop:disable Lint/RescueException -- Ruby would raise SystemExit in the main thread, too.
        raise unless Process.pid == @process # The job has forked, and this is the child.

        error = e
      ensure
        @ended << [Thread.current, done, error]
      end
    end
  end
end
