# frozen_string_literal: true

module DurableStreams
  module State
    # What {Materialized#on_change} callbacks get: an event that has changed the state.
    Change = Struct.new(:operation, :type, :key, :value, :old_value, :headers, keyword_init: true) do
      # @!attribute [r] operation
      #   @return [Symbol] :insert, :update, :upsert or :delete; :reset if the whole state was cleared
      # @!attribute [r] type
      #   @return [String, nil] nil for :reset
      # @!attribute [r] key
      #   @return [String, nil] nil for :reset
      # @!attribute [r] value
      #   @return [Object] the value that the state has now, frozen; nil for :delete and :reset
      # @!attribute [r] old_value
      #   @return [Object] the value that the state had before, frozen; if it had none, the event's `old_value`
      # @!attribute [r] headers
      #   @return [Hash{String => Object}] the event's headers, frozen: "txid" and "timestamp" may be there

      # @param operation [Symbol]
      # @param type [String, nil]
      # @param key [String, nil]
      # @param value [Object]
      # @param old_value [Object]
      # @param headers [Hash{String => Object}]
      def initialize(operation:, type: nil, key: nil, value: nil, old_value: nil, headers: {})
        super
        each { |member| Event.freeze(member) }
        freeze
      end
    end
  end
end
