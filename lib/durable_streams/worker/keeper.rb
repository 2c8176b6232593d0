# frozen_string_literal: true

module DurableStreams
  class Worker
    # Keeps the claim of one subscription: sends the requests that `Native::Worker` decides on, and passes on what
    # blocks and the wake stream report. Its methods may be called from any thread.
    # @api private
    class Keeper
      # @return [String] the subscription
      attr_reader :id

      # @param subscriptions [Subscriptions]
      # @param id [String]
      # @param name [String] the worker's
      # @param changes [Changes]
      def initialize(subscriptions, id, name, changes)
        @id = id
        @changes = changes
        @process = Process.pid
        @sent_at = nil
        endpoints = %w[claim ack release].map { |action| subscriptions.endpoint(id, action) }
        @native = Native::Worker.new(name, *endpoints)
      end

      # Sends requests until the worker is stopped, and has given the claim back.
      # @yieldreturn [Boolean] whether a thread is free that waits for the claim
      # @return [nil]
      # @raise [DurableStreamError] if the server rejects a claim for good
      # @raise [StandardError] what a value callable of the client raises. The claim is given back first, if that works
      def run(&has_capacity)
        send_requests(&has_capacity)
      rescue StandardError => e
        stop
        begin
          send_requests(&has_capacity)
        ensure
          raise e
        end
      end

      # Ends {#run} when the running blocks have returned.
      def stop
        @changes.change { @native.stop }
      end

      # @param generation [Integer, nil]
      def wake(generation)
        @changes.change { @native.wake(generation) }
      end

      # Call it in {Changes#synchronize}.
      # @return [Array(Integer, String, String), nil] generation, path and offset of a stream to run the block for
      def work
        @native.work
      end

      # Acks a batch that the block has handled, and waits until the server has confirmed it.
      # @param path [String]
      # @param batch [JsonBatch, ByteChunk]
      # @return [Symbol, StandardError] :go_on; :finished if that was the last one in this claim; or why it is not acked
      def ack(path, batch)
        # The block has forked, and this is the child.
        Thread.exit unless Process.pid == @process

        @changes.change { @native.handled(path, batch.next_offset, batch.up_to_date? || batch.stream_closed?) }
        @changes.synchronize do
          loop do
            progress = @native.progress(path)
            return progress if progress

            @changes.wait
          end
        end
      end

      # The block failed, or the stream could not be read.
      def failed(generation, path)
        @changes.change { @native.failed(generation, path) }
      end

      # @return [Numeric, nil] in how many seconds it claims, if a thread is free then; 0 while it claims; nil if it has
      #   a claim, or ends
      def claim_in
        @native.claim_in
      end

      # @return [Boolean] whether it claims, or would if a thread were free
      def claims_now?
        claim_in&.zero? || false
      end

      # @param seconds [Numeric]
      # @return [Boolean] whether the server has not responded to the present request for longer than this
      def waits_longer_than?(seconds)
        sent_at = @sent_at
        !sent_at.nil? && Worker.now - sent_at > seconds
      end

      # @return [Boolean] whether {#run} has nothing more to do
      def ended?
        @native.ended?
      end

      private

      def send_requests(&has_capacity)
        while next_step(&has_capacity) == :request
          request
          report_events
          @changes.change { nil }
        end
        error = @native.error
        raise error if error
      end

      def request
        @sent_at = Worker.now
        @native.request
      ensure
        @sent_at = nil
      end

      def next_step
        @changes.synchronize do
          loop do
            step = @native.poll(yield)
            return step if step.is_a?(Symbol)

            @changes.wait(step)
          end
        end
      end

      def report_events
        while (kind, generation, error = @native.event)
          next SubscriptionEvents.claimed(@id, generation) if kind == :claimed

          SubscriptionEvents.fenced(@id, generation, error)
          DurableStreams.report(:warn, "durable_streams: the claim of subscription #{@id.inspect} (generation " \
                                       "#{generation}) was lost: #{error.message}")
        end
        DurableStreams.write_log
      end
    end
  end
end
