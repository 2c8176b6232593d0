# frozen_string_literal: true

module DurableStreams
  # Calls a producer's callbacks, on a thread of the {CallbackThreads}'s. What a callback raises is logged, and changes
  # nothing.
  # @api private
  class ProducerCallbacks
    # What a callback may raise without ending the thread: all but what is meant to end it, or the process.
    RESCUED = [StandardError, ScriptError, SystemStackError, NoMemoryError, SecurityError].freeze
    private_constant :RESCUED

    # @param on_delivery [#call, nil]
    # @param on_error [#call, nil]
    # @return [ProducerCallbacks, nil] nil if there is nothing to call
    # @raise [ArgumentError] if a callback cannot be called
    def self.for(on_delivery, on_error)
      { on_delivery: on_delivery, on_error: on_error }.each do |name, callback|
        next if callback.nil? || callback.respond_to?(:call)

        raise ArgumentError, "#{name} must respond to call, got #{callback.class}"
      end
      new(on_delivery, on_error) if on_delivery || on_error
    end

    def initialize(on_delivery, on_error)
      @on_delivery = on_delivery
      @on_error = on_error
    end

    # @return [Boolean] whether deliveries are to be told, and not only a failure
    def deliveries?
      !@on_delivery.nil?
    end

    # @param event [Symbol] :delivered or :failed
    # @param details [Array] as Native.next_notice gives them
    # @return [nil]
    def notify(event, *details)
      event == :delivered ? delivered(*details) : @on_error&.call(*details)
      nil
    rescue *RESCUED => e
      DurableStreams.report(:error, "durable_streams: a producer's callback raised #{e.class}: #{e.message}")
    end

    private

    def delivered(next_offset, duplicate, epoch, seq, count)
      result = ProducerResult.new(next_offset: next_offset, duplicate: duplicate, epoch: epoch, seq: seq)
      @on_delivery.call(result, count)
    end
  end
end
