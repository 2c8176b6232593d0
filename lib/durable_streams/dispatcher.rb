# frozen_string_literal: true

module DurableStreams
  # The Ruby threads that do for producers what only Ruby can do while no caller waits: one answers what their requests
  # ask (the values of callables), the other calls their callbacks, so that a callback may be slow, or wait for its
  # producer, while requests go on. Each is started when a producer needs it, again if it has died or in a forked child,
  # and never keeps a process alive.
  # @api private
  module Dispatcher
    LOCK = Mutex.new
    private_constant :LOCK

    @threads = {}

    class << self
      # Makes sure that the threads run that are needed.
      # @param values [Boolean] whether requests ask callables for values
      # @param notices [Boolean] whether there are callbacks
      # @return [nil]
      # @raise [ThreadError] in a trap handler, where one has to be started: its lock cannot be had there
      def serve(values:, notices:)
        keep_running(:headers) { Native.serve_requests } if values
        keep_running(:callbacks) { tell_notices } if notices
        nil
      end

      # @return [Boolean] whether this is the thread that requests wait for
      def computing_values?
        Thread.current.equal?(@threads[:headers])
      end

      # Calls the callbacks that are due, for the end of the process.
      # @param limit [Numeric] seconds to wait for them at most
      # @return [nil]
      def finish(limit)
        thread = @threads[:callbacks]
        return unless thread&.alive?

        Native.end_notices
        thread.join(limit)
        nil
      end

      private

      def keep_running(name, &work)
        return if @threads[name]&.alive?

        LOCK.synchronize { @threads[name] = start(name, &work) unless @threads[name]&.alive? }
      end

      def start(name, &work)
        thread = Thread.new(&work)
        thread.name = "durable_streams #{name}"
        # Of no thread group of the application's, so that nobody joins or kills it with theirs; some cannot be left.
        ThreadGroup::Default.add(thread) unless thread.group&.enclosed?
        thread
      end

      def tell_notices
        while (listener, *notice = Native.next_notice)
          listener.tell(*notice)
        end
      end
    end
  end
end
