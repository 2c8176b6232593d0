# frozen_string_literal: true

module DurableStreams
  # Appends to one stream in the background, exactly once. Messages go out in batches. A batch whose response was lost
  # is sent again and stored once.
  #
  # The server identifies a producer by id and epoch, and its batches by their sequence numbers in the epoch. Only one
  # live producer may use an id at a time.
  #
  # A program may use the same id and epoch each time it runs. To the server, the second run looks like a repetition of
  # the first: it responds to the first batch as a duplicate and stores nothing. So the producer does not accept that
  # response as a success. It requests the end of the stream (HEAD) before its first batch. If the response to that
  # batch is a duplicate, it reads the stream from that end and looks for the batch. (It reads at most 64 MiB, for 30 s
  # or the client's `timeout`, whichever is longer.)
  #
  # * If the batch is found, it was delivered: its response was lost, or a proxy sent the request twice.
  # * If not, an earlier run has used the epoch. With `auto_claim: true` the producer claims the next epoch and sends
  #   the batch again: nothing is lost, and nothing is stored twice. Without it the producer fails with
  #   {EpochReusedError}, and `undelivered` lists every message.
  #
  # Later batches are checked in the same way, because two programs may run under one id and epoch by mistake. The
  # producer whose batch was displaced by the other's claims the next epoch or fails. Once both have stored something in
  # the epoch, it fails with {StaleEpochError}.
  #
  # In two cases the producer cannot distinguish its batch from another producer's. It then counts the batch as
  # delivered and logs a warning:
  #
  # * The HEAD request or the read fails.
  # * The batch was sent once, the response is a duplicate, and the stream has an equal batch, stored after this
  #   producer last learned the stream's end. Another producer wrote it, or a proxy sent the request twice. (On streams
  #   of bytes: any data that contains the bytes of the batch.)
  #
  # A batch that was sent again after a lost response counts as delivered if the response is a duplicate. For the first
  # batch this also requires that it is found in the stream.
  #
  # With `next_seq:` the producer continues where the application says that an earlier one stopped. It sends no HEAD,
  # and a duplicate counts as delivered.
  #
  # A killed program does not know which of its messages were stored. examples/restartable_writer.rb finds out on its
  # next run, so that each message is stored once, however often it is killed.
  #
  # Any number of threads may use a producer. It belongs to the process that created it: after `fork`, the child's copy
  # raises {ProducerError} and sends nothing.
  class Producer
    # Seconds that process exit may take to send pending messages.
    EXIT_LIMIT = 5.0
    # Minimum seconds that process exit gives to callbacks.
    CALLBACK_LIMIT = 1.0
    private_constant :EXIT_LIMIT, :CALLBACK_LIMIT

    class << self
      # Creates a producer. With a block, flushes and closes it when the block ends or raises. If both the block and
      # close raise, the block's exception is raised and close's is logged, unless both are for the same failure.
      # @param options [Hash] see {#initialize}
      # @yieldparam producer [Producer]
      # @return [Producer, Object] with a block, the block's value
      # @raise [ProducerError] if a message could not be delivered
      def open(**options)
        producer = new(**options)
        return producer unless block_given?

        begin
          yield producer
        rescue Exception => e # rubocop:disable Lint/RescueException -- always raised again
          raised = e
          raise
        ensure
          raised ? close_quietly(producer, raised) : producer.close
        end
      end

      # Sends the pending messages of all producers of this process and runs their callbacks, for six seconds at most.
      # Then logs how many messages were not stored without a caller knowing of it, even if a signal has interrupted the
      # sending.
      #
      # The library calls it in an at_exit block. A program calls it before something that ends it without such blocks:
      # `exec`, `exit!` or `Process.daemon`.
      # @return [nil]
      def flush_before_exit
        started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        Native.drain_producers(EXIT_LIMIT)
        took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
        CallbackThreads.finish([EXIT_LIMIT - took, CALLBACK_LIMIT].max)
      ensure
        report_losses(took)
      end

      # Registers an at_exit block that sends pending messages. Called when the library is loaded, and again by the
      # first append after the block ran: at_exit blocks registered earlier run after it, and some of them run the whole
      # application (those of sinatra and minitest/autorun).
      # @api private
      # @return [nil]
      def send_at_exit
        at_exit do
          flush_before_exit
        ensure
          # Must be last: exit does not wait again for what callbacks or looping threads append meanwhile.
          Native.at_exit_has_run
        end
        nil
      end

      private

      # @param took [Float, nil] seconds spent on sending; nil if it was interrupted
      def report_losses(took)
        timed_out = !took.nil? && took >= EXIT_LIMIT
        default = timed_out ? "no response within #{EXIT_LIMIT} s" : "the process ended before they were acknowledged"
        Native.lost_messages.each do |url, count, reason|
          DurableStreams.report(:warn, "durable_streams: the process exits, and #{count} appended messages did not " \
                                       "reach #{url}: #{reason || default} (flush or close the producer before)")
        end
      end

      def close_quietly(producer, raised)
        producer.close
      rescue StandardError => e
        return if e.is_a?(DeliveryFailure) && e.same_failure?(raised)

        DurableStreams.report(:warn, "durable_streams: closing a producer failed after its block raised: " \
                                     "#{e.class}: #{e.message}")
      end
    end

    # Registered at load time, so that it runs after the at_exit blocks that the application registers later.
    send_at_exit

    # @return [String] URL of the stream
    attr_reader :url
    # @return [String] the id under which the server knows the producer
    attr_reader :producer_id

    # Sends nothing before the first append, except a HEAD if the content type of `stream` is not known. Without
    # `next_seq`, another HEAD goes out before the first batch; {#append} does not wait for it.
    # @param stream [Stream, nil] the stream to append to; give either `stream` or `url`
    # @param url [String, URI, nil] absolute, or a path to join to the client's (or the configuration's) base_url
    # @param producer_id [String] stable, not empty, of printable characters
    # @param epoch [Integer] from 0 to 2^53-1
    # @param auto_claim [Boolean] whether to claim the server's epoch + 1 if a newer epoch has the id, if the server has
    #   closed this epoch, or if an earlier run has used it
    # @param max_batch_bytes [Integer] a batch is sent at this size, in bytes; a larger message has its own batch
    # @param max_batch_items [Integer, nil] a batch is sent at this number of messages; nil: no such limit
    # @param linger_ms [Numeric] milliseconds that a message waits for others in its batch; 0: it does not wait
    # @param max_in_flight [Integer] how many requests may be in flight at a time
    # @param max_buffered_bytes [Integer] how many bytes may be unacknowledged, in flight included
    # @param when_full [Symbol] what {#append} does at that limit: :block waits for room, :raise raises {ProducerError}
    # @param content_type [String, Symbol, nil] nil: the stream's; with `url`, application/json
    # @param headers [Hash] added to the stream's headers, or replacing them: see {Stream#initialize}. Value callables
    #   run once for every batch sent, on a callback thread, for one batch at a time. A slow or stuck callable delays
    #   only this producer. If a callable ends its thread twice for the same batch, the producer fails
    # @param next_seq [Integer, nil] the first sequence number, in an epoch that this application has used before; nil:
    #   0, in an epoch that should be new
    # @param client [Client, nil] with `url`: whose connection pool and settings to use; close it after the producer
    # @param retry_policy [RetryPolicy, nil] how often a batch is sent again. nil: as the client's policy says. If
    #   nobody has chosen a policy, only `delivery_timeout` limits the retries after the first acknowledgement
    # @param delivery_timeout [Numeric, nil] seconds after its first try in which a batch may be sent again, with any
    #   policy; the producer fails at the first failed try after it. nil: no limit
    # @param on_delivery [#call, nil] called with a {ProducerResult} and the number of messages for every acknowledged
    #   batch (stored or `duplicate?`), in order. One callback thread serves all producers. Requests and appends do not
    #   wait for it: pending calls queue without a limit, with some hundred bytes each. Move slow work to another thread
    # @param on_error [#call, nil] called with the error when the producer fails, on the same thread
    # @raise [ArgumentError] if an option is invalid
    # @raise [ThreadError, FiberError] if a callback thread is needed and cannot be started
    def initialize(producer_id:, stream: nil, url: nil, epoch: 0, auto_claim: false, max_batch_bytes: 1_048_576,
                   max_batch_items: nil, linger_ms: 5, max_in_flight: 5, max_buffered_bytes: 64 * 1024 * 1024,
                   when_full: :block, content_type: nil, headers: {}, next_seq: nil, client: nil, retry_policy: nil,
                   delivery_timeout: 120, on_delivery: nil, on_error: nil, **unknown)
      Options.refuse_unknown(unknown, Producer.instance_method(:initialize))
      @stream = ProducerOptions.stream(stream, url, client, content_type, headers)
      @url = @stream.url
      @producer_id = ProducerOptions.id(producer_id)
      settings = ProducerOptions.settings(
        epoch: epoch, next_seq: next_seq, auto_claim: auto_claim, max_batch_bytes: max_batch_bytes,
        max_batch_items: max_batch_items, linger_ms: linger_ms, max_in_flight: max_in_flight,
        max_buffered_bytes: max_buffered_bytes, when_full: when_full, delivery_timeout: delivery_timeout
      )
      @callbacks = ProducerCallbacks.for(on_delivery, on_error)
      @runs_application_code = @stream.runs_application_code?
      retry_policy = RetryPolicy.to_native(retry_policy)
      @stream.known_content_type(:produce)
      @json = @stream.json?
      CallbackThreads.check_ractor if @runs_application_code || @callbacks
      @native = @stream.native_producer(producer_id: @producer_id, retry_policy: retry_policy, listener: @callbacks,
                                        **settings)
      @closed = false
      @delivered = false
      @close_result = nil
    end

    # Appends a message and returns at once; the message is sent in the background. Waits only while
    # `max_buffered_bytes` are unacknowledged (or raises, with `when_full: :raise`).
    #
    # The data is encoded or copied now: the object may be changed afterwards, and appended again.
    # @param data [Object] see {Stream#append}
    # @return [nil]
    # @raise [ClosedError] if the producer is closed
    # @raise [ParseError] if a String is not valid JSON, on a JSON stream
    # @raise [ArgumentError] if the stream does not accept such data
    # @raise [ProducerError] if the producer has failed; `undelivered` lists the messages that were not stored
    # @raise [ThreadError] if a value callable of this producer would have to wait for room: that would be a deadlock
    def append(data)
      append_encoded(data) unless @native.take(data)
    end

    # Appends a message, as {#append} does.
    # @param data [Object]
    # @return [Producer] self
    def <<(data)
      append_encoded(data) unless @native.take(data)
      self
    end

    # Appends a message and waits until the server has acknowledged it. Earlier messages are sent too.
    # @param data [Object] see {#append}
    # @return [ProducerResult]
    # @raise [ProducerError] if it could not be delivered; also raises what {#append} raises
    def append!(data)
      next_offset, duplicate, epoch, seq = waiting { @native.append_acknowledged(encode(data), data) }
      ProducerResult.new(next_offset: next_offset, duplicate: duplicate, epoch: epoch, seq: seq)
    end

    # Sends all buffered messages, and returns when all earlier appends are acknowledged. If interrupted, it can be
    # called again.
    # @return [nil]
    # @raise [ProducerError] if a message could not be delivered
    def flush
      waiting { @native.flush }
    end

    # Flushes and ends the producer; the stream remains open. A second call does nothing.
    # @param timeout [Numeric, nil] seconds after which to give up; nil: as long as the producer retries, but 5 seconds
    #   in an `ensure` block of a thread that ends because the process exits
    # @return [nil]
    # @raise [ProducerError] if a message could not be delivered; every call raises it, in any thread
    def close(timeout: nil)
      limit = ProducerOptions.timeout(timeout)
      return if @delivered

      # The process waits for this thread.
      limit ||= EXIT_LIMIT unless Thread.main.alive?
      finish { @native.close(limit) }
      nil
    end

    # Flushes, closes the stream permanently and exactly once, and ends the producer. A second call with the same data,
    # or without data, returns the same result.
    # @param data [Object, nil] a last message, stored in the same atomic step; see {#append}
    # @return [CloseResult] its `final_offset` may be nil after a lost response
    # @raise [ClosedError] if the producer was closed without closing the stream
    # @raise [StreamClosedError] if another writer has closed the stream (also a ProducerError); or if this producer
    #   closed it with other data or none, so that `data` is not stored
    # @raise [ParseError] if data is a String that is not valid JSON, on a JSON stream
    # @raise [ProducerError] if a message could not be delivered
    def close_stream(data: nil)
      return @close_result if @close_result && data.nil?

      text = encode(data) unless data.nil?
      offset = finish { @native.close_stream(text, data) }
      @close_result ||= CloseResult.new(final_offset: offset || @stream.final_offset)
      @close_result
    end

    # @return [Boolean] whether {#close} or {#close_stream} was called
    def closed?
      @closed || @native.ending?
    end

    # @return [Integer] the current epoch; above the given one if the producer has claimed another
    def epoch
      @native.epoch
    end

    # @return [Integer] the sequence number of the last batch; -1 before the first
    def seq
      @native.seq
    end

    # @return [Integer] number of messages that are not acknowledged yet
    def pending
      @native.pending
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@url)} producer_id=#{@producer_id.inspect} closed=#{closed?}>"
    end

    private

    # Appends data that `@native.take` did not accept directly.
    def append_encoded(data)
      @native.append(encode(data), data, deadlock_reason)
    end

    def encode(data)
      data.is_a?(String) ? data : @stream.encode(data)
    end

    # Marks the producer as closed, unless an interrupt raised: then it can be closed again.
    def finish(&work)
      value = waiting(&work)
      @delivered = @closed = true
      value
    rescue DeliveryFailure
      @closed = true
      raise
    end

    # Runs a block that waits for deliveries.
    # @raise [ThreadError] if it would wait for itself
    def waiting
      reason = deadlock_reason
      raise ThreadError, reason if reason

      yield
    end

    # @return [String, nil] why this thread must not wait for deliveries; nil if it may
    def deadlock_reason
      return unless @runs_application_code && CallbackThreads.running_value_callables?

      "deadlock: a value callable or trusted_origins cannot wait for deliveries, because they wait for its result"
    end
  end
end
