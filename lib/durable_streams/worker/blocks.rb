# frozen_string_literal: true

module DurableStreams
  class Worker
    # Runs the application's block for the streams of all claims. Any number of threads may call {#run}.
    # @api private
    class Blocks
      # What a block may raise without ending its thread. Other exceptions are meant to end the thread or the process.
      RESCUED = [StandardError, ScriptError, SystemStackError, NoMemoryError, SecurityError].freeze
      # So many streams keep their handles, which know their content types.
      MOST_HANDLES = 10_000
      # Seconds. A thread that has waited for a claim for so long does something else. The claim's streams then wait for
      # a free thread, or for its end.
      SLOW_CLAIM = 1
      private_constant :MOST_HANDLES, :SLOW_CLAIM

      # @param client [Client]
      # @param keepers [Array<Keeper>]
      # @param changes [Changes]
      # @param stop [Native::StopSignal]
      # @yieldparam error [Exception] what a block raised, or why its batch is not acked
      # @yieldparam stream [Stream]
      def initialize(client, keepers, changes, stop, &on_error)
        @client = client
        @keepers = keepers
        @changes = changes
        @stop = stop
        @on_error = on_error
        @next = 0
        @awaited = []
        @handles = {}
      end

      # Call it in {Changes#synchronize}.
      # @param keeper [Keeper]
      # @return [Boolean] whether a thread is free that waits for its claim
      def wait_for?(keeper)
        @awaited.include?(keeper)
      end

      # Takes streams and runs the block for them, until the worker is stopped.
      # @yieldparam stream [Stream]
      # @yieldparam batch [JsonBatch, ByteChunk]
      def run(&block)
        # An interrupt between the two would leave a stream that nobody handles.
        Thread.handle_interrupt(Object => :never) do
          while (work = take)
            handle(*work, &block)
          end
        end
      end

      private

      # Waits for a stream.
      # @return [Array(Keeper, Integer, String, String), nil] nil if the worker is stopped
      def take
        @changes.synchronize do
          until ended?
            keeper, work = find
            return [keeper, *work] if work

            keeper ? wait_for_claim(keeper) : wait(@keepers.filter_map(&:claim_in).reject(&:zero?).min)
          end
        end
      end

      # Finds a keeper that has a stream, or that can claim now if a thread waits for it. Begins with another one each
      # time, so that a busy subscription does not delay the others.
      def find
        @keepers.size.times do
          keeper = @keepers[@next = (@next + 1) % @keepers.size]
          work = keeper.work
          return [keeper, work] if work || (claims_soon?(keeper) && !wait_for?(keeper))
        end
        nil
      end

      def claims_soon?(keeper)
        keeper.claims_now? && !keeper.waits_longer_than?(SLOW_CLAIM)
      end

      # Each claim has a thread that waits for it, and that takes the first of its streams. So no more claims are made
      # than threads are free.
      def wait_for_claim(keeper)
        @awaited << keeper
        @changes.notify
        wait(SLOW_CLAIM) while claims_soon?(keeper) && !ended?
        @next = @keepers.index(keeper) - 1
      ensure
        @awaited.delete(keeper)
      end

      def wait(seconds = nil)
        Thread.handle_interrupt(Object => :on_blocking) { @changes.wait(seconds) }
      end

      def ended?
        @stop.stopped? || @keepers.all?(&:ended?)
      end

      def handle(keeper, generation, path, offset)
        settled = false
        Thread.handle_interrupt(Object => :immediate) do
          read(path, offset) do |stream, batch|
            SubscriptionEvents.message(keeper.id, generation, path, batch) { yield stream, batch }
            progress = keeper.ack(path, batch)
            settled = progress != :go_on
            raise progress if progress.is_a?(Exception)

            settled
          end
        end
      rescue *RESCUED => e
        report(e, path)
      ensure
        keeper.failed(generation, path) unless settled
      end

      # Yields batches until the block returns true, or the worker is stopped.
      def read(path, offset)
        stream = handle_of(path)
        reader = stream.read_until(@stop, offset: offset, live: :off)
        reader&.each_batch { |batch| return if yield(stream, batch) }
        return if @stop.stopped?

        raise DurableStreamError.new("read #{Redaction.url(stream.url)}: the stream ended before its tail",
                                     url: Redaction.url(stream.url))
      end

      def handle_of(path)
        @changes.synchronize do
          @handles.clear if @handles.size >= MOST_HANDLES
          @handles[path] ||= @client.stream(path)
        end
      end

      # Passes an error on. The handle is not used again: its stream may have been created again, with another type.
      def report(error, path)
        @on_error.call(error, @changes.synchronize { @handles.delete(path) } || @client.stream(path))
      end
    end
  end
end
