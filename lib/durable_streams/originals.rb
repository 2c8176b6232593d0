# frozen_string_literal: true

module DurableStreams
  # What was appended to a producer and is no String, by its token, until it is acknowledged: so that `undelivered` can
  # give it back as it was passed. (Strings come back from the extension, byte for byte.)
  # @api private
  class Originals
    # How many are added before those that were acknowledged are dropped: it keeps appending cheap.
    SWEEP = 1_024
    private_constant :SWEEP

    def initialize
      @lock = Mutex.new
      @by_token = {}
      @sweep_at = SWEEP
    end

    # @param token [Integer]
    # @param data [Object]
    # @param native [Native::Producer] knows what is acknowledged
    # @return [nil]
    def keep(token, data, native)
      @lock.synchronize do
        @by_token[token] = data
        sweep(native.delivered) if @by_token.size >= @sweep_at
      end
      nil
    end

    # @param error [DeliveryFailure] gets its `undelivered` messages as they were passed
    # @return [DeliveryFailure] the same error
    def restore(error)
      held = @lock.synchronize { @by_token.dup }
      error.resolve_undelivered { |token, text| held.fetch(token, text) }
    end

    private

    def sweep(delivered)
      @by_token.delete_if { |token, _| token < delivered }
      @sweep_at = [@by_token.size * 2, SWEEP].max
    end
  end
end
