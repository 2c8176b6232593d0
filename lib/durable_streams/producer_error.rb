# frozen_string_literal: true

module DurableStreams
  # Marks an error as the failure of a producer's delivery. A particular error (a {StaleEpochError}, say) keeps its
  # class, so that both `rescue StaleEpochError` and `rescue ProducerError` catch it.
  module DeliveryFailure
    # The messages that did not reach the stream, as they were passed to append, in that order. An object that has been
    # changed since, so that it would not be encoded as it was, is there as the JSON it was encoded as: a String, which
    # appended again gives exactly what was to be sent.
    # @return [Array] frozen
    def undelivered
      @undelivered || NOTHING_UNDELIVERED
    end

    # @api private
    # @param messages [Array] becomes `undelivered`
    # @return [DeliveryFailure] self
    def failed_to_deliver(messages)
      @undelivered = messages.freeze
      self
    end

    # Every error that one failure of a producer is raised as has the same list of messages.
    # @api private
    # @param error [Exception]
    # @return [Boolean] whether both tell of the same failure of the same producer
    def same_failure?(error)
      error.is_a?(DeliveryFailure) && undelivered.equal?(error.undelivered)
    end

    # True for {ProducerError} too, as the error acts as one.
    # @param klass [Module]
    # @return [Boolean]
    def is_a?(klass)
      klass.equal?(ProducerError) || super
    end
    alias kind_of? is_a?

    NOTHING_UNDELIVERED = [].freeze
    private_constant :NOTHING_UNDELIVERED
  end

  # A producer could not deliver. `rescue ProducerError` catches whatever flush, close, close_stream, append and append!
  # of a producer raise for a delivery: instances of this class, and errors of other classes that are marked as
  # {DeliveryFailure}. (`rescue` asks `ProducerError === error`, and that is answered here.)
  #
  # An instance of this class itself is raised where no other class of the table says it better. `cause` is then what
  # led to it, such as the exception of a header's callable.
  class ProducerError < DurableStreamError
    include DeliveryFailure

    # @api private
    DEFAULTS = { message: "Producer failed", status: nil, code: nil }.freeze

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param undelivered [Array] the messages that did not reach the stream
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, undelivered: [], **attributes)
      @undelivered = undelivered.frozen? ? undelivered : undelivered.dup.freeze
      super(message, **attributes)
    end

    class << self
      # Whether the object is an error of a producer's delivery, of whatever class. Subclasses match as classes do.
      # @param object [Object]
      # @return [Boolean]
      def ===(object)
        super || (equal?(ProducerError) && object.is_a?(DeliveryFailure))
      end

      # An error of this library as a producer's failure: it keeps its class, and `rescue ProducerError` catches it.
      # @api private
      # @param error [DurableStreamError]
      # @param undelivered [Array] the messages that did not reach the stream
      # @return [DurableStreamError] the same error
      def mark(error, undelivered)
        error.extend(DeliveryFailure).failed_to_deliver(undelivered)
      end

      # The failure of a producer because of something that the application's own code raised.
      # @api private
      # @param exception [Exception] becomes the `cause`
      # @param undelivered [Array] the messages that did not reach the stream
      # @return [ProducerError]
      def caused_by(exception, undelivered)
        raise new("Producer failed: #{exception.message}", undelivered: undelivered.freeze), cause: exception
      rescue ProducerError => e
        e
      end
    end
  end
end
