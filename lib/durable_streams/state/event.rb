# frozen_string_literal: true

module DurableStreams
  module State
    # What an event of a stream of changes must look like.
    # @api private
    module Event
      # What is in `headers.operation` of a change.
      OPERATIONS = { "insert" => :insert, "update" => :update, "upsert" => :upsert, "delete" => :delete }.freeze
      # What is in `headers.control` of a control.
      CONTROLS = { "snapshot-start" => :snapshot_start, "snapshot-end" => :snapshot_end, "reset" => :reset }.freeze
      # Characters of a type or key that a message shows.
      SHOWN = 80
      private_constant :SHOWN

      class << self
        # `txid`, `timestamp` and members that the protocol does not have make no event invalid.
        # @param event [Object] an item of a JSON stream
        # @return [Symbol, nil] the change's operation or the control; nil if the event is neither
        def kind(event)
          return unless event.is_a?(Hash)

          headers = event["headers"]
          return unless headers.is_a?(Hash)
          return CONTROLS[headers["control"]] unless headers.key?("operation")

          operation = OPERATIONS[headers["operation"]]
          operation if operation && text?(event["type"]) && text?(event["key"]) &&
                       (operation == :delete || event.key?("value"))
        end

        # @param event [Object] one whose {kind} is nil
        # @return [String] what is wrong with it; no values, which may be confidential
        def defect(event)
          return "it must be an object, got #{event.class}" unless event.is_a?(Hash)

          headers = event["headers"]
          return "its headers must be an object, got #{headers.class}" unless headers.is_a?(Hash)
          return unknown("control", headers, CONTROLS) if headers.key?("control") && !headers.key?("operation")
          return unknown("operation", headers, OPERATIONS) unless OPERATIONS.key?(headers["operation"])

          name = %w[type key].find { |member| !text?(event[member]) }
          return "its #{name} must be a non-empty String, got #{shown(event[name])}" if name

          "its value is missing (#{identity(event)})"
        end

        # @param value [Object]
        # @return [Boolean] whether it may be a type or a key
        def text?(value)
          value.is_a?(String) && !value.empty?
        end

        # @param event [Hash] a change
        # @return [String] its type and key, for a message
        def identity(event)
          "type #{shown(event["type"])}, key #{shown(event["key"])}"
        end

        # Freezes a value of JSON with everything in it.
        # @param value [Object]
        # @return [Object] the value
        def freeze(value)
          case value
          when String then value.freeze # first, because most values are Strings
          when Hash then value.each_value { |member| freeze(member) }.freeze
          when Array then value.each { |member| freeze(member) }.freeze
          else value.freeze
          end
        end

        private

        def unknown(name, headers, known)
          "its #{name} must be one of #{known.keys.join(", ")}, got #{shown(headers[name])}"
        end

        def shown(value)
          return value.class.to_s unless value.is_a?(String)

          value.size > SHOWN ? "#{value[0, SHOWN].inspect}…" : value.inspect
        end
      end
    end
  end
end
