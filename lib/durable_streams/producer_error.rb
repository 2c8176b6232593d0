# frozen_string_literal: true

module DurableStreams
  # Marks an error as the failure of a producer's delivery. A particular error (a {StaleEpochError}, say) keeps its
  # class, so that both `rescue StaleEpochError` and `rescue ProducerError` catch it.
  module DeliveryFailure
    # The messages that did not reach the stream, as they were passed to append, in that order.
    # @return [Array] frozen
    def undelivered
      @undelivered || NOTHING_UNDELIVERED
    end

    # Turns the messages as the extension has them into what was passed to append.
    # @api private
    # @yieldparam token [Integer] number of the message
    # @yieldparam text [String] what was sent of it
    # @return [DeliveryFailure] self
    def resolve_undelivered
      if @raw_undelivered
        @undelivered = @raw_undelivered.map { |token, text, _unknown| yield(token, text) }.freeze
        @raw_undelivered = nil
      end
      self
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
      @undelivered = undelivered.dup.freeze
      super(message, **attributes)
    end

    class << self
      # Whether the object is an error of a producer's delivery, of whatever class. Subclasses match as classes do.
      # @param object [Object]
      # @return [Boolean]
      def ===(object)
        super || (equal?(ProducerError) && object.is_a?(DeliveryFailure))
      end

      # The error of a producer that could not deliver: the particular error itself, marked so that `rescue
      # ProducerError` catches it; for what is no error of this library, a ProducerError that has it as its cause.
      # @api private
      # @param reason [Exception]
      # @param undelivered [Array<Array(Integer, String, Boolean)>] token, text and whether the outcome is unknown
      # @return [DurableStreamError]
      def for(reason, undelivered)
        return mark(reason, undelivered) if reason.is_a?(DurableStreamError)

        begin
          raise new("Producer failed: #{reason.message}"), cause: reason
        rescue ProducerError => e
          mark(e, undelivered)
        end
      end

      # Raises what {for} gives.
      # @api private
      # @raise [DurableStreamError]
      def fail(reason, undelivered)
        raise self.for(reason, undelivered)
      end

      private

      def mark(error, undelivered)
        error.extend(DeliveryFailure)
        error.instance_variable_set(:@raw_undelivered, undelivered)
        error.resolve_undelivered { |_token, text| text } if undelivered.empty?
        error
      end
    end
  end
end
