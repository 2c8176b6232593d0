# frozen_string_literal: true

module DurableStreams
  # Calls a producer's callbacks, on the {Dispatcher}'s thread. What a callback raises is logged and changes nothing.
  # @api private
  class ProducerListener
    # @param on_delivery [#call, nil]
    # @param on_error [#call, nil]
    # @param originals [Originals]
    # @return [ProducerListener, nil] nil if there is nothing to call
    # @raise [ArgumentError] if a callback cannot be called
    def self.for(on_delivery, on_error, originals)
      { on_delivery: on_delivery, on_error: on_error }.each do |name, callback|
        next if callback.nil? || callback.respond_to?(:call)

        raise ArgumentError, "#{name} must respond to call, got #{callback.class}"
      end
      new(on_delivery, on_error, originals) if on_delivery || on_error
    end

    def initialize(on_delivery, on_error, originals)
      @on_delivery = on_delivery
      @on_error = on_error
      @originals = originals
    end

    # @param what [Symbol] :delivered, :failed or :claimed
    # @param details [Array] as Native.next_notice gives them
    # @return [nil]
    def tell(what, *details)
      case what
      when :delivered then delivered(*details) if @on_delivery
      when :failed then failed(*details) if @on_error
      end
      nil
    rescue StandardError => e
      DurableStreams.logger&.error("durable_streams: a producer's callback raised #{e.class}: #{e.message}")
    end

    private

    def delivered(next_offset, duplicate, epoch, seq, count)
      result = ProducerResult.new(next_offset: next_offset, duplicate: duplicate, epoch: epoch, seq: seq)
      @on_delivery.call(result, count)
    end

    def failed(error, undelivered)
      @on_error.call(@originals.restore(ProducerError.for(error, undelivered)))
    end
  end
end
