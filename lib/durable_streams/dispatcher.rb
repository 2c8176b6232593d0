# frozen_string_literal: true

module DurableStreams
  # The one Ruby thread that does for producers what only Ruby can do while no caller waits: it computes the headers of
  # their requests where callables are involved, and calls their callbacks. It is started when the first producer
  # needs it, again in a forked child, and never keeps a process alive.
  # @api private
  module Dispatcher
    LOCK = Mutex.new
    private_constant :LOCK

    class << self
      # Makes sure that the thread runs.
      # @return [nil]
      def ensure_running
        return if @thread&.alive?

        LOCK.synchronize { @thread = start unless @thread&.alive? }
        nil
      end

      private

      def start
        thread = Thread.new { run }
        thread.name = "durable_streams dispatcher"
        thread.report_on_exception = true
        # Of no thread group of the application's, so that nobody joins or kills it with theirs.
        ThreadGroup::Default.add(thread)
        thread
      end

      def run
        loop do
          listener, *notice = Native.next_notice
          listener.tell(*notice)
        end
      end
    end
  end
end
