# frozen_string_literal: true

module DurableStreams
  module State
    # A strict {Materialized} got an event that is neither a change nor a control, or whose value its schema refuses.
    class InvalidEventError < DurableStreamError
      # @api private
      DEFAULTS = { message: "Invalid event", status: nil, code: "INVALID_EVENT" }.freeze

      # @return [Object] the event
      attr_reader :event
      # @return [String, nil] where to read to find the event; nil if it is not known
      attr_reader :offset

      # @param message [String, nil] see {DurableStreamError#initialize}
      # @param event [Object] the event
      # @param offset [String, nil] where to read to find the event
      # @param attributes [Hash] see {DurableStreamError#initialize}
      def initialize(message = nil, event: nil, offset: nil, **attributes)
        @event = event
        @offset = offset
        super(message, **attributes)
      end
    end
  end
end
