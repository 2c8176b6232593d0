# frozen_string_literal: true

module DurableStreams
  # The Ruby threads that do for producers what only Ruby can do while no caller waits. Those of one kind compute the
  # values that requests ask callables for: there is one more of them whenever all are busy, so that a callable that is
  # stuck holds up its own producer only. One other thread calls the callbacks, so that these may be slow, or wait for
  # their producer, while requests go on.
  #
  # They are started when a producer needs them. One that dies while there is something to do starts its successor: what
  # ends a thread (Thread#kill, Thread.exit in a callback) runs the code that does so. A forked child has its own, and
  # they never keep a process alive. The extension counts them, by numbers that it gives out.
  # @api private
  module CallbackThreads
    # The threads' names, by their kind.
    NAMES = { values: "durable_streams headers", notices: "durable_streams callbacks" }.freeze
    # The thread variable that has the number of a thread that computes values.
    VARIABLE = :__durable_streams_values
    private_constant :NAMES, :VARIABLE

    # Whether the log has been told that threads cannot be started.
    @warned = false

    class << self
      # @return [nil]
      # @raise [Ractor::IsolationError] outside of the main Ractor, whose threads these are
      def check_ractor
        return if Ractor.current == Ractor.main

        raise Ractor::IsolationError, "producers with callbacks or callables belong to the main Ractor"
      end

      # Starts a thread, if another one is of use. Works in trap handlers: there is no lock.
      # @param kind [Symbol] :values or :notices
      # @return [Boolean] false if it is of use and cannot be started, and others serve
      # @raise [ThreadError] if it cannot be started, and there is no other
      def keep_running(kind)
        # Nothing may come between the number and the thread that has it.
        Thread.handle_interrupt(Object => :never) do
          number = Native.join(kind)
          number.nil? || start(kind, number)
        end
      end

      # @return [Boolean] whether requests wait for what this thread computes
      def running_value_callables?
        number = Thread.current.thread_variable_get(VARIABLE)
        # A forked child's thread has the number of its parent's, for which nobody waits there.
        !number.nil? && Native.serves?(:values, number)
      end

      # Calls the callbacks that are due, for the end of the process.
      # @param limit [Numeric] seconds to wait for them at most
      # @return [nil]
      def finish(limit)
        Native.finish_notices(limit)
      end

      private

      # To be called without interrupts, which the thread then begins without, too: it reaches its `ensure`.
      # @return [Boolean] whether it was started
      def start(kind, number)
        thread = Thread.new { run(kind, number) }
        thread.name = NAMES.fetch(kind)
        leave_group(thread)
        @warned = false
        true
      rescue ThreadError => e
        raise unless Native.fail_to_join(kind, number, e)

        warn_of_shortage(kind, e)
        false
      end

      # Once, until a thread can be started again: whatever needs one tries.
      def warn_of_shortage(kind, error)
        return if @warned

        @warned = true
        DurableStreams.report(:warn, "durable_streams: cannot start another thread, so that producers' #{kind} may " \
                                     "have to wait for one another: #{error.message}")
      end

      # Of no thread group of the application's, so that nobody joins or kills it with theirs; some cannot be left, or
      # joined.
      def leave_group(thread)
        groups = [thread.group, ThreadGroup::Default].compact
        ThreadGroup::Default.add(thread) if groups.none? { |group| group.enclosed? || group.frozen? }
      end

      def run(kind, number)
        Thread.handle_interrupt(Object => :immediate) do
          kind == :values ? run_value_callables(number) : run_callbacks(number)
        end
      ensure
        replace(kind, number)
      end

      def run_value_callables(number)
        Thread.current.thread_variable_set(VARIABLE, number)
        Native.serve_requests(number)
      end

      def run_callbacks(number)
        while (callbacks, *notice = Native.next_notice(number))
          callbacks.notify(*notice)
          DurableStreams.report_warnings
        end
      end

      # For a thread at its end. The main thread is not alive any more while the process ends all others; none can be
      # started then.
      def replace(kind, number)
        needed = Native.leave(kind, number)
        keep_running(kind) if needed && Thread.main.alive?
      rescue ThreadError => e
        DurableStreams.report(:error, "durable_streams: a thread for producers' #{kind} has ended, and another one " \
                                      "cannot be started: #{e.message}")
      end
    end
  end
end
