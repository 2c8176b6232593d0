# frozen_string_literal: true

module DurableStreams
  # Marks an error as a producer's delivery failure. The error keeps its class, such as {StaleEpochError}. So both
  # `rescue StaleEpochError` and `rescue ProducerError` catch it.
  module DeliveryFailure
    # The messages that were not stored, in append order, as they were passed to append. If an object has changed since,
    # the list has its encoded JSON instead: a String that can be appended again.
    # @return [Array] frozen
    def undelivered
      @undelivered || NOTHING_UNDELIVERED
    end

    # @api private
    # @param messages [Array] the value of `undelivered`
    # @return [DeliveryFailure] self
    def failed_to_deliver(messages)
      @undelivered = messages.freeze
      self
    end

    # All errors raised for one failure share one list of messages.
    # @api private
    # @param error [Exception]
    # @return [Boolean] whether both are for the same failure of the same producer
    def same_failure?(error)
      error.is_a?(DeliveryFailure) && undelivered.equal?(error.undelivered)
    end

    # Also true for {ProducerError}.
    # @param klass [Module]
    # @return [Boolean]
    def is_a?(klass)
      klass.equal?(ProducerError) || super
    end
    alias kind_of? is_a?

    NOTHING_UNDELIVERED = [].freeze
    private_constant :NOTHING_UNDELIVERED
  end

  # A producer could not deliver messages. `rescue ProducerError` catches every delivery failure that flush,
  # close, close_stream, append and append! raise: instances of this class, and errors of other classes marked as
  # {DeliveryFailure}. (`rescue` calls `ProducerError.===`, which this class overrides.)
  #
  # Instances of this class itself are raised if no other error class fits. `cause` is then the original exception, such
  # as that of a value callable.
  class ProducerError < DurableStreamError
    include DeliveryFailure

    # @api private
    DEFAULTS = { message: "Producer failed", status: nil, code: nil }.freeze

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param undelivered [Array] the messages that were not stored
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, undelivered: [], **attributes)
      @undelivered = undelivered.frozen? ? undelivered : undelivered.dup.freeze
      super(message, **attributes)
    end

    class << self
      # Whether the object is a delivery failure of any class. Subclasses of ProducerError match only their instances.
      # @param object [Object]
      # @return [Boolean]
      def ===(object)
        super || (equal?(ProducerError) && object.is_a?(DeliveryFailure))
      end

      # Marks an error of this library as a delivery failure. It keeps its class.
      # @api private
      # @param error [DurableStreamError]
      # @param undelivered [Array] the messages that were not stored
      # @return [DurableStreamError] the same error
      def mark(error, undelivered)
        error.extend(DeliveryFailure).failed_to_deliver(undelivered)
      end

      # Creates the failure for an exception of the application's own code.
      # @api private
      # @param exception [Exception] the `cause`
      # @param undelivered [Array] the messages that were not stored
      # @param url [String] of the stream, without credentials
      # @return [ProducerError]
      def caused_by(exception, undelivered, url)
        message = "produce to #{url}: the application's code raised #{exception.class}: #{exception.message}"
        raise new(message, undelivered: undelivered.freeze, url: url), cause: exception
      rescue ProducerError => e
        e
      end
    end
  end
end
