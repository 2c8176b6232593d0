# frozen_string_literal: true

module DurableStreams
  module State
    # The state that a stream of changes describes: for each type, values by key. {#apply} changes it.
    #
    # An event that is invalid is skipped with a warning in {DurableStreams.logger}, or raises with `strict: true`.
    # Values are frozen when they are applied, so what {#[]}, {#of} and {#to_h} return never changes.
    #
    # One thread applies; any number may read meanwhile. They see the state after one event or the next.
    class Materialized
      NOTHING = {}.freeze
      private_constant :NOTHING

      # @param strict [Boolean] whether an invalid event raises {InvalidEventError}
      # @param schemas [Hash{String => #call}] by type: called with every value of the type. If it returns false or nil,
      #   the event is invalid. What it raises is raised by {#apply}
      # @param entries [Hash{String => Hash{String => Object}}] the state to begin with, as {#to_h} returned it
      # @raise [ArgumentError] if an option is invalid
      def initialize(strict: false, schemas: {}, entries: {})
        @strict = strict ? true : false
        @schemas = check_schemas(schemas).dup.freeze
        # The Hashes of values that were handed out are frozen. Such a Hash is copied before the next change.
        @types = check_entries(entries).reject { |_type, values| values.empty? }
        @lock = Mutex.new
        @callbacks = [].freeze
      end

      # Applies one event: an item of a JSON stream. Freezes the objects in it.
      #
      # `insert`, `update` and `upsert` all store the value, whether or not there was one. `reset` clears the state.
      # Snapshot marks change nothing.
      # @param event [Hash] as the reader yields it, with String keys
      # @param offset [String, nil] where to read to find the event, for warnings and errors
      # @return [Symbol, nil] :insert, :update, :upsert, :delete, :reset, :snapshot_start or :snapshot_end; nil if the
      #   event was skipped
      # @raise [InvalidEventError] if the event is invalid, with `strict: true`; the state has not changed
      # @raise [Exception] what a callback of {#on_change} or a schema raises; after a callback, the event is applied
      def apply(event, offset: nil)
        apply_at(event, offset, nil)
      end

      # Applies a batch's events.
      # @api private
      # @param events [Array] the batch's items
      # @param offset [String] where the batch begins
      # @return [nil]
      def apply_batch(events, offset)
        events.each_with_index { |event, index| apply_at(event, offset, index) }
        nil
      end

      # Adds a callback, which {#apply} calls after each event that changes the state, on its thread, in the order in
      # which callbacks were added. What a callback raises is raised by {#apply}. The event is applied then, and the
      # callbacks after this one are not called.
      # @yieldparam change [Change]
      # @return [Materialized] self
      # @raise [ArgumentError] if there is no block
      def on_change(&callback)
        raise ArgumentError, "on_change requires a block" unless callback

        @lock.synchronize { @callbacks = [*@callbacks, callback].freeze }
        self
      end

      # @param type [String]
      # @param key [String]
      # @return [Object, nil] the value, frozen; nil if there is none (or if it is nil: see {#of})
      # @raise [ArgumentError] if type or key is not a String
      def [](type, key)
        text(type, "type")
        text(key, "key")
        values = @types[type]
        values && values[key]
      end

      # Returns the values of a type as they are now. Later events do not change what was returned. Cheap: only the next
      # event of the type makes a copy.
      # @param type [String]
      # @return [Hash{String => Object}] values by key, frozen; empty if there are none
      # @raise [ArgumentError] if type is not a String
      def of(type)
        text(type, "type")
        @lock.synchronize { @types[type]&.freeze } || NOTHING
      end

      # @return [Array<String>] the types that have values
      def types
        @lock.synchronize { @types.keys }
      end

      # Returns the whole state as it is now, to be saved or sent. Later events do not change it.
      # @return [Hash{String => Hash{String => Object}}] for each type its values by key, frozen
      def to_h
        @lock.synchronize { @types.transform_values(&:freeze) }.freeze
      end

      # @return [String] the number of values by type; no values
      def inspect
        "#<#{self.class} #{to_h.transform_values(&:size)}>"
      end

      private

      # @param index [Integer, nil] the event's, among those after the offset; nil: the offset is the event's own
      def apply_at(event, offset, index)
        kind = Event.kind(event)
        case kind
        when nil then return refuse(Event.defect(event), event, offset, index)
        when :insert, :update, :upsert
          value = Event.freeze(event["value"])
          unless accepted?(event["type"], value)
            return refuse("its schema refuses the value (#{Event.identity(event)})", event, offset, index)
          end

          old_value = store(event, value)
        when :delete then old_value = remove(event)
        when :reset then @lock.synchronize { @types = {} }
        else return kind
        end
        report(kind, event, old_value) unless @callbacks.empty?
        kind
      end

      def accepted?(type, value)
        schema = @schemas[type]
        schema.nil? || schema.call(value)
      end

      # @return [Object] the value before
      def store(event, value)
        key = event["key"]
        @lock.synchronize do
          values = writable(event["type"])
          old_value = values.fetch(key, event["old_value"])
          values[key] = value
          old_value
        end
      end

      # @return [Object] the value before
      def remove(event)
        type, key = event.values_at("type", "key")
        @lock.synchronize do
          next event["old_value"] unless @types[type]&.key?(key)

          values = writable(type)
          old_value = values.delete(key)
          @types.delete(type) if values.empty?
          old_value
        end
      end

      # @return [Hash] the values of a type, to be changed
      def writable(type)
        values = @types[type] || {}
        @types[type] = values.frozen? ? values.dup : values
      end

      def report(kind, event, old_value)
        type, key, value = event.values_at("type", "key", "value") unless kind == :reset
        change = Change.new(operation: kind, type: type, key: key, value: (value unless kind == :delete),
                            old_value: old_value, headers: event["headers"])
        @callbacks.each { |callback| callback.call(change) }
      end

      def refuse(reason, event, offset, index)
        place = "(its offset is not known)"
        place = index ? "#{index + 1} after offset #{offset}" : "at offset #{offset}" if offset
        raise InvalidEventError.new("event #{place}: #{reason}", event: event, offset: offset) if @strict

        DurableStreams.report(:warn, "durable_streams: state: skipped event #{place}: #{reason}")
        nil
      end

      def text(value, name)
        Options.refuse(name, "a String", value) unless value.is_a?(String)
      end

      def check_schemas(schemas)
        valid = schemas.is_a?(Hash) && schemas.all? { |type, schema| Event.text?(type) && schema.respond_to?(:call) }
        valid ? schemas : Options.refuse("schemas", "a Hash of types and objects that respond to call", schemas)
      end

      def check_entries(entries)
        valid = entries.is_a?(Hash) && entries.all? do |type, values|
          Event.text?(type) && values.is_a?(Hash) && values.each_key.all? { |key| Event.text?(key) }
        end
        return Event.freeze(entries) if valid

        Options.refuse("entries", "a Hash of types and Hashes of values by key, as to_h returns it", entries)
      end
    end
  end
end
