# frozen_string_literal: true

module DurableStreams
  class Worker
    # Reads a wake stream, and wakes the keepers of the subscriptions that its events name.
    # @api private
    class Wakes
      # @param stream [Stream]
      # @param keepers [Array<Keeper>] those whose wake stream it is
      # @param stop [Native::StopSignal]
      # @raise [StreamNotFoundError] if the stream does not exist
      def initialize(stream, keepers, stop)
        @stream = stream
        @keepers = keepers
        @stop = stop
        # From here, so that no event between the first claim and the first read is missed.
        @offset = stream.head.next_offset
      end

      # Reads until the worker is stopped.
      def run
        reader = @stream.read_until(@stop, offset: @offset, live: :auto)
        reader&.each_batch do |batch|
          wake(batch.items)
          @offset = batch.next_offset
        end
        return if @stop.stopped?

        url = Redaction.url(@stream.url)
        raise StreamClosedError.new("read #{url}: the wake stream is closed", url: url)
      end

      private

      # Later events of a subscription include the earlier ones.
      def wake(events)
        events = events.select { |event| event.is_a?(Hash) && event["type"] == "wake" }
        newest = events.to_h { |event| [event["subscription_id"], event["generation"]] }
        @keepers.each do |keeper|
          next unless newest.key?(keeper.id)

          generation = newest[keeper.id]
          keeper.wake(generation.is_a?(Integer) && !generation.negative? ? generation : nil)
        end
      end
    end
  end
end
