# frozen_string_literal: true

module DurableStreams
  # Calls a producer's callbacks on a callback thread (see {CallbackThreads}). Their exceptions are logged and have no
  # other effect.
  # @api private
  class ProducerCallbacks
    # Exceptions of a callback that do not end the thread. Others are meant to end the thread or the process.
    RESCUED = [StandardError, ScriptError, SystemStackError, NoMemoryError, SecurityError].freeze
    NO_CALLBACK = ->(*) {}
    private_constant :RESCUED, :NO_CALLBACK

    # @param on_delivery [#call, nil]
    # @param on_error [#call, nil]
    # @return [ProducerCallbacks, nil] nil if there are no callbacks
    # @raise [ArgumentError] if a callback does not respond to `call`
    def self.for(on_delivery, on_error)
      { on_delivery: on_delivery, on_error: on_error }.each { |name, callback| Options.callable(name, callback) }
      new(on_delivery, on_error) if on_delivery || on_error
    end

    def initialize(on_delivery, on_error)
      @on_delivery = on_delivery
      @on_error = on_error
    end

    # @return [Boolean] whether there is a callback for deliveries, and not only for a failure
    def deliveries?
      !@on_delivery.nil?
    end

    # Calls the callback for a notice. Interrupts run before it begins, or within it.
    # @param pending [Array] is emptied when the callback begins
    # @param event [Symbol] :delivered or :failed
    # @param details [Array] see Native.next_notice
    # @return [nil]
    def notify(pending, event, *details)
      callback, *arguments = event == :delivered ? [@on_delivery, *delivered(*details)] : [@on_error, *details]
      callback ||= NO_CALLBACK
      Thread.handle_interrupt(Object => :immediate) do
        # Pending interrupts run here. So they hardly ever run between the next two lines, where one that ends the
        # thread loses the notice.
        Native.check_interrupts
        pending.clear
        callback.call(*arguments)
      end
      nil
    rescue *RESCUED => e
      name = event == :delivered ? "on_delivery" : "on_error"
      DurableStreams.report(:error, "durable_streams: a producer's #{name} raised #{e.class}: #{e.message}")
    end

    private

    def delivered(next_offset, duplicate, epoch, seq, count)
      [ProducerResult.new(next_offset: next_offset, duplicate: duplicate, epoch: epoch, seq: seq), count]
    end
  end
end
