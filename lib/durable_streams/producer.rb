# frozen_string_literal: true

module DurableStreams
  # Writes to one stream, fire and forget, exactly once: messages are sent in batches in the background, and a batch
  # whose answer was lost is sent again without being stored twice.
  #
  # The server knows a producer by its id and epoch, and its batches by their numbers in the epoch. One id is for one
  # live producer at a time.
  #
  # A program may use the same id and epoch each time it runs. To the server, the second run looks like the first one
  # repeating itself: it answers the first batch as a duplicate and stores nothing. So the producer does not take that
  # answer for a success. It asks for the end of the stream (HEAD) before it sends its first batch, and if that batch is
  # answered as a duplicate, it reads the stream from there and looks for the batch. (It receives 64 MiB at most, for
  # 30 s or the client's `timeout`, whichever is longer.) If the batch is there, it was delivered: a lost answer, or a
  # proxy that sent the request twice. If not, an earlier run has used the epoch. With `auto_claim: true` the producer
  # then takes the next epoch and sends the batch again: nothing is lost and nothing is stored twice. Without it the
  # producer fails with {EpochReusedError}, and `undelivered` has every message.
  #
  # It treats later batches in the same way: two programs may run at the same time under one id and epoch, by mistake.
  # The one whose batch the other one's has taken the place of takes the next epoch or fails; once both have stored
  # something in the epoch, it fails with {StaleEpochError}.
  #
  # In two cases another producer cannot be told from this one. Then the batch counts as delivered, and a warning in the
  # log says that this is not certain:
  #
  # * The end of the stream cannot be asked for, or the stream cannot be read.
  # * The batch was sent once, answered as a duplicate, and an equal one is in the stream, stored after the last time
  #   that this producer learned the stream's end: by another producer, or by a proxy that sent the request twice. (On
  #   streams of bytes: anything that contains the bytes of the batch.)
  #
  # A batch that was sent again because its answer was lost counts as delivered if it is answered as a duplicate, the
  # first one if it is found.
  #
  # With `next_seq:` the producer goes on where the application says that an earlier one left off. It asks for nothing,
  # and a batch that the server has counts as delivered.
  #
  # A program that is killed does not know which of its messages were stored. examples/restartable_writer.rb finds that
  # out when it is run again, so that each message is stored once, however often it is killed.
  #
  # May be used from any number of threads. It belongs to the process that made it: after `fork` the child's copy raises
  # {ProducerError}, and nothing is sent twice.
  class Producer
    # Seconds that a process which ends with messages pending may take to send them.
    EXIT_LIMIT = 5.0
    # Seconds that its callbacks are given at least.
    CALLBACK_LIMIT = 1.0
    private_constant :EXIT_LIMIT, :CALLBACK_LIMIT

    class << self
      # Makes a producer; with a block, flushes and closes it however the block ends. An exception from the block is not
      # masked by one from the closing, which is logged then, unless both tell of the same failure.
      # @param options [Hash] as {#initialize} takes them
      # @yieldparam producer [Producer]
      # @return [Producer, Object] with a block, the block's value
      # @raise [ProducerError] if what was appended could not be delivered
      def open(**options)
        producer = new(**options)
        return producer unless block_given?

        begin
          yield producer
        rescue Exception => e # rubocop:disable Lint/RescueException -- whatever it is, it goes on
          raised = e
          raise
        ensure
          raised ? close_quietly(producer, raised) : producer.close
        end
      end

      # Sends what is pending and calls the callbacks, for some seconds at most, and logs what did not reach its stream
      # and nobody was told of, also where a signal ends this early. For the end of the process.
      # @api private
      # @return [nil]
      def flush_before_exit
        started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        Native.drain_producers(EXIT_LIMIT)
        took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
        CallbackThreads.finish([EXIT_LIMIT - took, CALLBACK_LIMIT].max)
      ensure
        report_losses(took)
      end

      # Has the end of the process send what is pending. Called when the library is loaded, and by the first append
      # after that was done: an at_exit block that is older than the library's runs after it, and some run the whole
      # application (sinatra's, and that of minitest/autorun).
      # @api private
      # @return [nil]
      def send_at_exit
        at_exit do
          flush_before_exit
        ensure
          # As the last thing: what callbacks append meanwhile, or a thread in a loop, is not waited for again.
          Native.at_exit_has_run
        end
        nil
      end

      private

      # @param took [Float, nil] seconds that were spent on sending; nil: it was interrupted
      def report_losses(took)
        timed_out = !took.nil? && took >= EXIT_LIMIT
        otherwise = timed_out ? "no answer within #{EXIT_LIMIT} s" : "the process ended before they were acknowledged"
        Native.lost_messages.each do |url, count, reason|
          DurableStreams.report(:warn, "durable_streams: the process ends and #{count} appended messages did not " \
                                       "reach #{url}: #{reason || otherwise}")
        end
      end

      def close_quietly(producer, raised)
        producer.close
      rescue StandardError => e
        return if e.is_a?(DeliveryFailure) && e.same_failure?(raised)

        DurableStreams.report(:warn, "durable_streams: closing a producer failed after another exception: " \
                                     "#{e.class}: #{e.message}")
      end
    end

    # Now, so that it runs after whatever the application registers later.
    send_at_exit

    # @return [String] URL of the stream
    attr_reader :url
    # @return [String] what the server knows the producer by
    attr_reader :producer_id

    # Nothing is sent before something is appended, except a HEAD if the content type of `stream` is not known. Without
    # `next_seq`, a HEAD goes out before the first batch, too; {#append} does not wait for it.
    # @param stream [Stream, nil] what to write to; or `url`
    # @param url [String, URI, nil] absolute, or a path joined to the client's (or the configuration's) base_url
    # @param producer_id [String] stable, not empty, of characters a header can carry
    # @param epoch [Integer] from 0 to 2^53-1
    # @param auto_claim [Boolean] whether to go on in a new epoch, the server's + 1, when a newer epoch has the id or an
    #   earlier run has used this epoch
    # @param max_batch_bytes [Integer] a batch goes out at this size, in bytes; a larger message travels alone
    # @param max_batch_items [Integer, nil] a batch goes out at so many messages; nil: no such limit
    # @param linger_ms [Numeric] how long a message waits for company, in milliseconds; 0: not at all
    # @param max_in_flight [Integer] how many requests are out at a time
    # @param max_buffered_bytes [Integer] how many bytes may be unacknowledged, in flight included
    # @param when_full [Symbol] what {#append} does then: :block waits for room, :raise raises {ProducerError}
    # @param content_type [String, Symbol, nil] nil: the stream's; with `url`, application/json
    # @param headers [Hash] beside (and instead of) the stream's, as {Stream#initialize} takes them; callables are asked
    #   once for every batch that goes out, on a thread of the library's, for one batch at a time. One that is slow or
    #   stuck delays this producer only. The producer fails if one ends its thread, twice for the same batch
    # @param next_seq [Integer, nil] the first number to use in an epoch that this application has used before; nil: 0,
    #   in an epoch that should be new
    # @param client [Client, nil] whose connections and settings to use with `url`; to be closed after the producer
    # @param retry_policy [RetryPolicy, nil] nil: the client's
    # @param on_delivery [#call, nil] called with a {ProducerResult} and the number of messages, for every batch that
    #   the server has acknowledged (as stored, or as a duplicate: `duplicate?`), in order, on the one thread that calls
    #   the callbacks of all producers. Nothing else waits for it: requests and appends go on, and what it is still to
    #   be told queues meanwhile, some hundred bytes for each batch and without a limit. So what takes long, or may
    #   never return, is to be handed on to another thread
    # @param on_error [#call, nil] called with the error when the producer fails, on the same thread
    # @raise [ArgumentError] for values that cannot be meant
    # @raise [ThreadError] if a thread that callables or callbacks need cannot be started
    def initialize(producer_id:, stream: nil, url: nil, epoch: 0, auto_claim: false, max_batch_bytes: 1_048_576,
                   max_batch_items: nil, linger_ms: 5, max_in_flight: 5, max_buffered_bytes: 64 * 1024 * 1024,
                   when_full: :block, content_type: nil, headers: {}, next_seq: nil, client: nil, retry_policy: nil,
                   on_delivery: nil, on_error: nil)
      @stream = ProducerOptions.stream(stream, url, client, content_type, headers)
      @url = @stream.url
      @producer_id = ProducerOptions.id(producer_id)
      settings = ProducerOptions.settings(
        epoch: epoch, next_seq: next_seq, auto_claim: auto_claim, max_batch_bytes: max_batch_bytes,
        max_batch_items: max_batch_items, linger_ms: linger_ms, max_in_flight: max_in_flight,
        max_buffered_bytes: max_buffered_bytes, when_full: when_full
      )
      @callbacks = ProducerCallbacks.for(on_delivery, on_error)
      @value_callables = @stream.value_callables?
      retry_policy = ProducerOptions.retry_policy(retry_policy)
      @stream.known_content_type(:produce)
      @json = @stream.json?
      CallbackThreads.check_ractor if @value_callables || @callbacks
      @native = @stream.native_producer(producer_id: @producer_id, retry_policy: retry_policy, listener: @callbacks,
                                        **settings)
      @closed = false
      @delivered = false
      @close_result = nil
    end

    # Appends a message and returns at once; the message is sent in the background. Waits only while
    # `max_buffered_bytes` are unacknowledged (or raises, with `when_full: :raise`).
    #
    # What is sent is what the data are now: they may be changed afterwards, and appended again.
    # @param data [Object] as {Stream#append} takes it
    # @return [nil]
    # @raise [ClosedError] if the producer is closed
    # @raise [ParseError] if a String is not valid JSON, on a JSON stream
    # @raise [ArgumentError] if the stream does not take such data
    # @raise [ProducerError] if the producer has failed, with what did not land in `undelivered`
    # @raise [ThreadError] if it would have to wait for room in the callable of a header, which deliveries wait for
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

    # Appends a message and waits until the server has acknowledged it. What was appended before it is sent too.
    # @param data [Object] as {#append} takes it
    # @return [ProducerResult]
    # @raise [ProducerError] if it could not be delivered; and as {#append} raises
    def append!(data)
      next_offset, duplicate, epoch, seq = waiting { @native.append_acknowledged(encode(data), data) }
      ProducerResult.new(next_offset: next_offset, duplicate: duplicate, epoch: epoch, seq: seq)
    end

    # Sends what waits, and returns when all that was appended before is acknowledged. An interrupted flush harms
    # nothing: flush again.
    # @return [nil]
    # @raise [ProducerError] if something could not be delivered
    def flush
      waiting { @native.flush }
    end

    # Flushes and ends the producer; the stream stays open. Closing twice is fine.
    # @param timeout [Numeric, nil] seconds after which to give up; nil: as long as the retry policy lasts
    # @return [nil]
    # @raise [ProducerError] if something could not be delivered: each time, in whichever thread it was closed first
    def close(timeout: nil)
      limit = ProducerOptions.timeout(timeout)
      return if @delivered

      finish { @native.close(limit) }
      nil
    end

    # Flushes, then closes the stream for good, exactly once, and ends the producer. Called again, with the same data or
    # with none, it gives the same result.
    # @param data [Object, nil] a last message, as {#append} takes it, in the same atomic step
    # @return [CloseResult]
    # @raise [ClosedError] if the producer was closed without the stream
    # @raise [StreamClosedError] if another writer has closed the stream, a ProducerError too; and if this producer has
    #   closed it before, with other data than these or without, so that these are not stored
    # @raise [ParseError] if data is a String that is not valid JSON, on a JSON stream
    # @raise [ProducerError] if something could not be delivered
    def close_stream(data: nil)
      return @close_result if @close_result && data.nil?

      text = encode(data) unless data.nil?
      offset = finish { @native.close_stream(text, data) }
      # Answers to a repetition do not tell; the stream has not moved since.
      @close_result ||= CloseResult.new(final_offset: offset || @stream.head.next_offset)
      @close_result
    end

    # @return [Boolean] whether {#close} or {#close_stream} was called
    def closed?
      @closed || @native.ending?
    end

    # @return [Integer] the epoch in use: above the one given if the id was claimed back
    def epoch
      @native.epoch
    end

    # @return [Integer] the last sequence number used, one for every batch; -1 before the first
    def seq
      @native.seq
    end

    # @return [Integer] how many messages are not acknowledged yet
    def pending
      @native.pending
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@url)} producer_id=#{@producer_id.inspect} closed=#{closed?}>"
    end

    private

    # Appends what is not a String that is accepted at once.
    def append_encoded(data)
      @native.append(encode(data), data, deadlock_reason)
    end

    def encode(data)
      data.is_a?(String) ? data : Message.encode(data, @json, @stream.content_type)
    end

    # The end: but for an interrupt, after which it can be asked for again and goes on.
    def finish(&work)
      value = waiting(&work)
      @delivered = @closed = true
      value
    rescue DeliveryFailure
      @closed = true
      raise
    end

    # Runs what waits for deliveries.
    # @raise [ThreadError] where that would wait for itself
    def waiting
      reason = deadlock_reason
      raise ThreadError, reason if reason

      yield
    end

    # @return [String, nil] why nothing may wait for deliveries here; nil if it may
    def deadlock_reason
      return unless @value_callables && CallbackThreads.running_value_callables?

      "the callable of a header cannot wait for deliveries, which wait for it"
    end
  end
end
