# frozen_string_literal: true

module DurableStreams
  class Webhook
    # The server's signing keys, as JSON. Any number of threads may use it; one of them fetches the keys for all.
    # @api private
    class Keys
      # Seconds after which the keys are fetched again: the server may have withdrawn one.
      MAX_AGE = 300
      # Seconds between two requests that unknown keys cause.
      BETWEEN_UNKNOWN = 60
      # Seconds that pass before a failed request is made again, or one that an unknown key causes.
      PAUSE = 5
      private_constant :MAX_AGE, :BETWEEN_UNKNOWN, :PAUSE

      # @yieldreturn [String] the keys, from the server
      def initialize(&fetch)
        @fetch = fetch
        @lock = Mutex.new
        @json = nil
        @fetched = nil
        @error = nil
        @failed = nil
        @unknown = nil
      end

      # @param unknown [Boolean] whether the present keys do not have the one that is needed
      # @return [String]
      # @raise [DurableStreamError] if there are none, or not the one that is needed, and they cannot be fetched
      def json(unknown: false)
        @lock.synchronize do
          renew if @json.nil? || now - @fetched >= MAX_AGE || (unknown && renew_for_unknown?)
          raise @error if @json.nil? || (unknown && @failed)

          @json
        end
      end

      private

      # The server may have a new key, or somebody may invent keys.
      def renew_for_unknown?
        return true if @failed
        return false if now - @fetched < PAUSE || (@unknown && now - @unknown < BETWEEN_UNKNOWN)

        @unknown = now
        true
      end

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
