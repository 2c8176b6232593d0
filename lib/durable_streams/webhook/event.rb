# frozen_string_literal: true

module DurableStreams
  class Webhook
    # A webhook: these streams of a subscription have new messages. See {Webhook}.
    class Event
      # Seconds before the lease is prolonged again, when its length is not known yet: the shortest one is a second.
      FIRST_PAUSE = 0.3
      private_constant :FIRST_PAUSE

      # @return [String]
      attr_reader :subscription_id
      # @return [String] the id of the wake. The server may send it several times
      attr_reader :wake_id
      # @return [Integer] increases with every wake of the subscription
      attr_reader :generation
      # @return [Array<SubscribedStream>] all streams of the subscription
      attr_reader :streams

      # @api private
      # @param client [Client]
      # @param json [Hash{String => Object}] the body of the request
      # @raise [ArgumentError, KeyError, NoMethodError] if it is none of a webhook
      def initialize(client, json)
        @client = client
        @subscription_id, @wake_id, @generation, token =
          json.fetch_values("subscription_id", "wake_id", "generation", "callback_token")
        @streams = json.fetch("streams").map { |stream| SubscribedStream.of(stream) }.freeze
        @lease = [@wake_id, Integer(@generation), token].freeze
        @callback = client.subscriptions.endpoint(@subscription_id, "callback")
        @acked = {}
        @lost = nil
        @done = false
      end

      # Yields the batches of all pending streams, one stream after the other, and acks each one after the block.
      # @yieldparam stream [Stream]
      # @yieldparam batch [JsonBatch, ByteChunk] with data
      # @return [Event] self
      # @raise [FencedError] if the claim has ended. Then leave the rest to the next webhook
      def each_batch(&block)
        raise ArgumentError, "each_batch requires a block, which receives a stream and a batch" unless block

        pending = streams.select(&:pending?)
        # What it does not reach, because the block breaks out, is not acked at the end.
        @acked = pending.to_h { |pending_stream| [pending_stream.path, nil] }.merge(@acked)
        pending.each { |pending_stream| read(pending_stream, &block) }
        self
      end

      # Says that a stream is handled up to an offset, and prolongs the lease.
      # @param stream [Stream, String] or its path (or URL)
      # @param offset [String] such as that of a {JsonBatch}
      # @return [nil]
      # @raise [ArgumentError] if an argument is invalid
      # @raise [FencedError] if the claim has ended, because the lease ran out
      def ack(stream, offset)
        path = path_of(stream)
        Options.instance("offset", offset, String)
        call_back([[path, offset]], done: false)
        @acked[path] = offset
        nil
      end

      # Says that all streams are handled up to their `tail_offset`, and ends the claim. Streams that {#ack} or
      # {#each_batch} has acked remain as acked there; what they have beyond comes by another webhook. Called when the
      # block of the {Webhook} returns. A second call does nothing.
      # @return [nil]
      # @raise [FencedError] if the claim has ended
      def done
        return if @done

        acks = streams.select(&:pending?).filter_map do |stream|
          [stream.path, stream.tail_offset] unless @acked.key?(stream.path)
        end
        call_back(acks, done: true)
        @done = true
        nil
      end

      # @api private
      # @return [Boolean] whether the server has said that the claim has ended
      def lost?
        @lost ? true : false
      end

      # Prolongs the lease now, and during the block.
      # @api private
      # @return [Object] the block's value
      # @raise [FencedError] if the claim has ended already: it is a repetition
      def prolonging
        call_back([], done: false)
        stop = Native::StopSignal.new
        thread = Thread.new { prolong_until(stop) }
        thread.name = "durable_streams webhook"
        yield
      ensure
        stop&.stop
      end

      # @return [String] without the token
      def inspect
        "#<#{self.class} #{subscription_id.inspect} wake_id=#{wake_id.inspect} generation=#{generation}>"
      end

      private

      # The path of a stream in the notation of {#streams}, in which {#done} looks for it.
      def path_of(stream)
        subscriptions = @client.subscriptions
        @paths ||= streams.to_h { |known| [subscriptions.path("stream", known.path), known.path] }
        path = subscriptions.path("stream", stream)
        @paths.fetch(path, path)
      end

      def read(pending)
        stream = @client.stream(pending.path)
        stream.read(offset: pending.acked_offset) do |reader|
          reader.each_batch do |batch|
            SubscriptionEvents.message(subscription_id, generation, pending.path, batch) { yield stream, batch }
            ack(pending.path, batch.next_offset)
            break if batch.next_offset >= pending.tail_offset
          end
        end
      end

      def call_back(acks, done:)
        raise @lost if @lost

        begin
          Native.call_back(@callback, @lease, acks, done)
        rescue FencedError => e
          # The first try of this request has ended the claim, and its response was lost.
          raise @lost = e unless done && e.outcome_unknown?
        end
      end

      def prolong_until(stop)
        pause = FIRST_PAUSE
        until stop.wait(pause) || stop.stopped? || @done || @lost
          begin
            call_back([], done: false)
            pause = lease_ttl / 3.0 if pause == FIRST_PAUSE
          rescue FencedError
            return # The next ack raises it.
          rescue StandardError => e
            return if stop.stopped? # The block has returned meanwhile.

            DurableStreams.report(:warn, "durable_streams: cannot prolong the lease of #{inspect}: #{e.message}")
          end
        end
      end

      def lease_ttl
        @client.subscriptions.find(subscription_id)&.lease_ttl || 1
      end
    end
  end
end
