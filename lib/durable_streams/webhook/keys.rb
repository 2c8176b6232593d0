# frozen_string_literal: true

module DurableStreams
  class Webhook
    # The server's signing keys, as JSON. Any number of threads may use it; one of them fetches the keys for all.
    # @api private
    class Keys
      # Seconds after which the keys are fetched again: the server may have withdrawn one.
      MAX_AGE = 300
      # Seconds that pass before an unknown key makes this fetch the keys again.
      MIN_AGE = 60
      # Seconds that pass before a failed request is made again.
      PAUSE = 5
      private_constant :MAX_AGE, :MIN_AGE, :PAUSE

      # @yieldreturn [String] the keys, from the server
      def initialize(&fetch)
        @fetch = fetch
        @lock = Mutex.new
        @json = nil
        @fetched = nil
        @error = nil
        @failed = nil
      end

      # @param unknown [Boolean] whether the present keys do not have the one that is needed
      # @return [String]
      # @raise [DurableStreamError] if there are none, or not the one that is needed, and they cannot be fetched
      def json(unknown: false)
        @lock.synchronize do
          renew if @json.nil? || now - @fetched >= (unknown ? MIN_AGE : MAX_AGE)
          raise @error if @json.nil? || (unknown && @failed)

          @json
        end
      end

      private

      # Leaves the keys as they are if they cannot be fetched now.
      def renew
        return if @failed && now - @failed < PAUSE

        @json = @fetch.call
        @fetched = now
        @failed = nil
      rescue DurableStreamError => e
        @error = e
        @failed = now
      end

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end
  end
end
