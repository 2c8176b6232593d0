# frozen_string_literal: true

module DurableStreams
  # Follows a stream, and saves the offset after each batch. The next run, also of another process, continues there: it
  # repeats at most the batch whose block had not returned, or whose offset was not yet saved (at least once).
  # {Checkpoint} lists the places where the offset can be saved. {file:docs/consumers.md} shows how effects happen
  # exactly once.
  #
  # @example
  #   checkpoint = DurableStreams::Checkpoint::File.new("/var/lib/shop/orders.offset")
  #   consumer = DurableStreams::Consumer.new(client.stream("/orders"), checkpoint: checkpoint)
  #   trap("TERM") { consumer.stop }
  #   consumer.run { |batch| batch.items.each { |order| ship(order) } }
  #
  # Run one consumer with a checkpoint at a time. Any number of consumers with checkpoints of their own may follow a
  # stream.
  class Consumer
    # What `on_error` may return.
    DECISIONS = %i[retry skip stop].freeze
    private_constant :DECISIONS

    # @param stream [Stream]
    # @param checkpoint [#load, #save] `load` returns the saved offset, or nil for the beginning of the stream.
    #   `save(offset)` stores it. What they raise is raised from {#run}
    # @param live [Symbol, Boolean, nil] see {Stream#read}; `:off`: {#run} returns when it has caught up
    # @param on_error [#call, nil] gets the StandardError that the block raised, and the batch. It returns `:retry` (run
    #   the block again after a pause, which grows with each failure of the batch as the client's {RetryPolicy} says),
    #   `:skip` (save, and go on with the next batch), or `:stop` ({#run} returns without saving). nil: {#run} raises
    #   the error, and nothing is saved
    # @raise [ArgumentError] if an argument is invalid
    def initialize(stream, checkpoint:, live: :auto, on_error: nil, **unknown)
      Options.refuse_unknown(unknown, Consumer.instance_method(:initialize))
      Options.instance("stream", stream, Stream)
      Options.callable("on_error", on_error)
      ReadOptions.normalize(offset: nil, live: live, cursor: nil, retry_policy: nil)
      missing = %i[load save].reject { |name| checkpoint.respond_to?(name) }
      unless missing.empty?
        raise ArgumentError, "checkpoint must respond to load and save(offset), as #{Checkpoint::File} does; " \
                             "#{Options.class_of(checkpoint)} does not respond to #{missing.join(" and ")}"
      end

      @stream = stream
      @checkpoint = checkpoint
      @live = live
      @on_error = on_error
      @running = Mutex.new
      @stop = Native::StopSignal.new # Takes no lock, so a trap handler can stop it. Ends all waits of a run.
      @up_to_date = false
    end

    # Yields each batch from the checkpoint on, and saves its offset after the block has returned. Batches without data
    # are not yielded.
    #
    # Goes on after empty polls, lost connections and outages. Until the first success, and with `live: :off`, the
    # client's {RetryPolicy} limits the tries; after it nothing does, also if you chose the policy.
    #
    # If the block is left in another way (`break`, `throw`, an exception, Thread#kill), the batch is not saved: another
    # run repeats it.
    # @yieldparam batch [JsonBatch, ByteChunk]
    # @return [Symbol] `:closed` at the end of a closed stream, `:stopped` after {#stop} or a `:stop` of `on_error`,
    #   `:up_to_date` at the end of the data with `live: :off`
    # @raise [ArgumentError] without a block; if the checkpoint loads anything but an offset or nil; if `on_error`
    #   returns anything but `:retry`, `:skip` or `:stop`
    # @raise [ThreadError] if this consumer is already running
    # @raise [CheckpointError] if the checkpoint cannot be loaded or saved; other checkpoints may raise other errors
    # @raise [DurableStreamError] if the stream cannot be read: as for {Stream#read}
    def run(&block)
      raise ArgumentError, "run requires a block, which receives each batch" unless block
      raise ThreadError, "this consumer is already running: make another one" if @running.locked?

      @running.synchronize { stopped? ? :stopped : follow(load_checkpoint, &block) }
    end

    # Ends {#run}: a running block finishes and its batch is saved; a wait ends at once. A stopped consumer remains
    # stopped: a later {#run} returns `:stopped` at once. May be called from any thread, from the block, and from a trap
    # handler; before {#run}, too.
    # @return [nil]
    def stop
      @stop.stop
      nil
    end

    # @return [Boolean] whether {#stop} was called, or `on_error` returned `:stop`
    def stopped?
      @stop.stopped?
    end

    # @return [Boolean] whether {#run} has processed all data that the stream had when the server last responded
    def up_to_date?
      @up_to_date
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@stream.url)} checkpoint=#{@checkpoint.inspect} stopped=#{stopped?}>"
    end

    private

    def load_checkpoint
      offset = @checkpoint.load
      return offset if offset.nil? || offset.is_a?(String)

      raise ArgumentError, "load of the checkpoint (#{@checkpoint.class}) must return an offset (a String) or nil, " \
                           "got #{Options.shown(offset)}"
    end

    def follow(offset, &block)
      @saved = offset
      @up_to_date = false
      reader = @stream.read_until(@stop, offset: offset, live: @live)
      reader&.each_batch do |batch|
        unless empty?(batch)
          @up_to_date = false
          return :stopped unless process(batch, &block)
        end

        save(batch)
        @up_to_date = batch.up_to_date?
      end
      return :closed if reader&.stream_closed?

      stopped? ? :stopped : :up_to_date
    end

    def empty?(batch)
      batch[0].empty? # The items or data.
    end

    # Runs the block, again and again if on_error says so.
    # @return [Boolean] whether to save the offset after the batch
    def process(batch)
      failures = 0
      begin
        yield batch
        true
      rescue CheckpointError
        raise # From a checkpoint that the block saves itself. Another try could not succeed either.
      rescue StandardError => e
        raise unless @on_error

        case decision(e, batch)
        when :skip then return true
        when :stop then stop
        when :retry then pause(failures += 1)
        end
        stopped? ? false : retry
      end
    end

    def decision(error, batch)
      decision = @on_error.call(error, batch)
      return decision if DECISIONS.include?(decision)

      raise ArgumentError, "on_error must return :retry, :skip or :stop, got #{Options.shown(decision)}"
    end

    # Waits before the block runs again: half to all of the policy's delay, which grows.
    def pause(failures)
      policy = @stream.context.config.retry_policy
      delay = [policy.initial_delay * (policy.multiplier.to_f**(failures - 1)), policy.max_delay].min
      @stop.wait(delay * rand(0.5..1.0))
    end

    # A part of a huge batch has the offset of the part before. It is saved again, so that a checkpoint which the block
    # saves itself knows that the next part follows, and not the same one again.
    def save(batch)
      return if batch.next_offset == @saved && empty?(batch)

      @checkpoint.save(batch.next_offset)
      @saved = batch.next_offset
    end
  end
end
