# frozen_string_literal: true

module DurableStreams
  # The callback threads: Ruby threads that run Ruby code for producers while no caller waits.
  #
  # There are two kinds. `:values` threads run value callables; another one starts whenever all are busy, so a stuck
  # callable delays only its own producer. One `:notices` thread runs the callbacks of all producers, so they may be
  # slow, or wait for their producer, while requests go on. It also delivers the events that belong to no call (see
  # {Events}).
  #
  # A producer starts the threads it needs. If a thread ends while work remains (by Thread#kill, or Thread.exit in a
  # callback), its `ensure` block starts another. A forked child starts its own threads. They never prevent the process
  # from exiting. The extension tracks the threads by numbers that it assigns.
  # @api private
  module CallbackThreads
    # Thread names, by kind.
    NAMES = { values: "durable_streams headers", notices: "durable_streams callbacks" }.freeze
    # The thread variable with the number of a `:values` thread.
    VARIABLE = :__durable_streams_values
    private_constant :NAMES, :VARIABLE

    # Whether a failure to start threads has been logged.
    @warned = false
    # The notice that the `:notices` thread has taken from the extension, and whose callback has not begun; empty if
    # there is none. If the thread ends, its successor begins with it. The process id comes first: a forked child must
    # not run its parent's notice.
    @notice = []

    class << self
      # @return [nil]
      # @raise [Ractor::IsolationError] outside the main Ractor, which owns the callback threads
      def check_ractor
        return if Ractor.current == Ractor.main

        raise Ractor::IsolationError, "a producer with callbacks or value callables works only in the main Ractor"
      end

      # Starts a thread if another one is needed. Takes no lock, so it works in trap handlers.
      # @param kind [Symbol] :values or :notices
      # @return [Boolean] false if a needed thread cannot be started, but others of its kind run
      # @raise [ThreadError, FiberError] if it cannot be started, and no other of its kind runs
      def keep_running(kind)
        # An interrupt between the two calls would leave a number without a thread.
        Thread.handle_interrupt(Object => :never) do
          number = Native.add_thread(kind)
          number.nil? || start(kind, number)
        end
      end

      # @return [Boolean] whether this thread runs a value callable, or trusted_origins, that a request waits for
      def running_value_callables?
        number = Thread.current.thread_variable_get(VARIABLE)
        # After a fork inside a callable, the child's thread still has its parent's number, but no request waits for it.
        !number.nil? && Native.serves?(:values, number)
      end

      # Runs the remaining callbacks at process exit.
      # @param limit [Numeric] the most seconds to wait for them
      # @return [nil]
      def finish(limit)
        Native.finish_notices(limit)
      end

      private

      # Must be called with interrupts off. The thread inherits that, so it always reaches its `ensure`.
      # @return [Boolean] whether it was started
      def start(kind, number)
        thread = without_storage { Thread.new { run(kind, number) } }
        thread.name = NAMES.fetch(kind)
        leave_group(thread)
        @warned = false
        true
      rescue ThreadError, FiberError => e
        raise unless Native.thread_not_started(kind, number, e)

        warn_of_shortage(kind, e)
        false
      end

      # A thread inherits the fiber storage of the fiber that starts it. These threads serve other callers too: they
      # must neither see that caller's values nor keep them alive.
      def without_storage(&block)
        RUBY_VERSION < "3.2" ? yield : Fiber.new(storage: {}, &block).resume
      end

      # Warns once until a thread can be started again: every producer that needs a thread tries to start one.
      def warn_of_shortage(kind, error)
        return if @warned

        @warned = true
        DurableStreams.report(:warn, "durable_streams: cannot start another thread for producers' #{kind}; " \
                                     "producers may have to wait for one another: #{error.message}")
      end

      # Moves the thread out of the application's thread group, so that the application does not join or kill it with
      # its own threads. Enclosed and frozen groups do not allow that.
      def leave_group(thread)
        groups = [thread.group, ThreadGroup::Default].compact
        ThreadGroup::Default.add(thread) if groups.none? { |group| group.enclosed? || group.frozen? }
      end

      def run(kind, number)
        kind == :values ? run_value_callables(number) : run_callbacks(number)
      ensure
        replace(kind, number)
      end

      def run_value_callables(number)
        Thread.handle_interrupt(Object => :immediate) do
          Thread.current.thread_variable_set(VARIABLE, number)
          Native.serve_requests(number)
        end
      end

      # An interrupt ends the thread while it waits, or within a callback. Anywhere else it would lose a notice.
      def run_callbacks(number)
        Thread.handle_interrupt(Object => :on_blocking) do
          while (callbacks, *notice = unfinished_notice || take_notice(number))
            callbacks.notify(@notice, *notice)
            Thread.handle_interrupt(Object => :immediate) { DurableStreams.write_log }
          end
        end
      end

      def take_notice(number)
        notice = Native.next_notice(number)
        @notice = notice ? [Process.pid, *notice] : []
        notice
      end

      def unfinished_notice
        process, *notice = @notice
        notice if process == Process.pid
      end

      # Starts the successor of a thread that ends. While the process exits, the main thread is no longer alive and no
      # thread can be started.
      def replace(kind, number)
        needed = Native.remove_thread(kind, number) || (kind == :notices && !unfinished_notice.nil?)
        keep_running(kind) if needed && Thread.main.alive?
      rescue ThreadError, FiberError => e
        DurableStreams.report(:error, "durable_streams: the thread for producers' #{kind} ended, and another one " \
                                      "cannot be started: #{e.message}")
      end
    end
  end
end
