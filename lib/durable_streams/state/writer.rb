# frozen_string_literal: true

module DurableStreams
  module State
    # Appends changes and controls to a JSON stream. It has no state of its own: any number of threads may share it.
    #
    # The methods return what `append` of the stream or producer returns, and raise what it raises.
    class Writer
      RFC3339 = /\A\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])
                 T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)\z/ix
      private_constant :RFC3339

      # @param target [Stream, Producer] a JSON stream, or a producer of one
      # @raise [ArgumentError] if it is neither
      def initialize(target)
        valid = target.is_a?(Stream) || target.is_a?(Producer)
        Options.refuse("target", "a #{Stream} or a #{Producer}", target) unless valid
        @target = target
      end

      # Appends that a key has a value from now on, and had none before.
      # @param type [String] not empty
      # @param key [String] not empty
      # @param value [Object] a value of JSON, a String included, or an object with its own to_json
      # @param txid [String, nil] not empty; the same for all changes of a transaction
      # @param timestamp [Time, String, nil] when the change happened; a String in RFC 3339 format
      # @return [AppendResult, nil] of a stream; a producer returns nil
      # @raise [ArgumentError] if an argument is invalid
      # @raise [DurableStreamError] see {Stream#append}, {Producer#append}
      def insert(type, key, value, txid: nil, timestamp: nil)
        change("insert", type, key, value: value, txid: txid, timestamp: timestamp)
      end

      # Appends that a key has another value from now on.
      # @param type [String] see {#insert}
      # @param key [String] see {#insert}
      # @param value [Object] see {#insert}
      # @param old_value [Object] the value before; nil: not said
      # @param txid [String, nil] see {#insert}
      # @param timestamp [Time, String, nil] see {#insert}
      # @return [AppendResult, nil] see {#insert}
      # @raise [ArgumentError] if an argument is invalid
      # @raise [DurableStreamError] see {Stream#append}, {Producer#append}
      def update(type, key, value, old_value: nil, txid: nil, timestamp: nil)
        change("update", type, key, value: value, old_value: old_value, txid: txid, timestamp: timestamp)
      end

      # Appends that a key has a value from now on, whether or not it had one before.
      # @param type [String] see {#insert}
      # @param key [String] see {#insert}
      # @param value [Object] see {#insert}
      # @param old_value [Object] the value before; nil: not said
      # @param txid [String, nil] see {#insert}
      # @param timestamp [Time, String, nil] see {#insert}
      # @return [AppendResult, nil] see {#insert}
      # @raise [ArgumentError] if an argument is invalid
      # @raise [DurableStreamError] see {Stream#append}, {Producer#append}
      def upsert(type, key, value, old_value: nil, txid: nil, timestamp: nil)
        change("upsert", type, key, value: value, old_value: old_value, txid: txid, timestamp: timestamp)
      end

      # Appends that a key has no value any more.
      # @param type [String] see {#insert}
      # @param key [String] see {#insert}
      # @param old_value [Object] the value before; nil: not said
      # @param txid [String, nil] see {#insert}
      # @param timestamp [Time, String, nil] see {#insert}
      # @return [AppendResult, nil] see {#insert}
      # @raise [ArgumentError] if an argument is invalid
      # @raise [DurableStreamError] see {Stream#append}, {Producer#append}
      def delete(type, key, old_value: nil, txid: nil, timestamp: nil)
        change("delete", type, key, old_value: old_value, txid: txid, timestamp: timestamp)
      end

      # Appends a control: the state is cleared (:reset), or a snapshot begins or ends here.
      # @param name [Symbol] :reset, :snapshot_start or :snapshot_end
      # @param offset [String, nil] an offset that belongs to it
      # @return [AppendResult, nil] see {#insert}
      # @raise [ArgumentError] if an argument is invalid
      # @raise [DurableStreamError] see {Stream#append}, {Producer#append}
      def control(name, offset: nil)
        headers = { control: Event::CONTROLS.key(Options.one_of("name", name, Event::CONTROLS.values)) }
        headers[:offset] = text(offset, "offset") unless offset.nil?
        @target.append({ headers: headers })
      end

      private

      def change(operation, type, key, txid:, timestamp:, old_value: nil, **content)
        headers = { operation: operation }
        headers[:txid] = text(txid, "txid") unless txid.nil?
        headers[:timestamp] = rfc3339(timestamp) unless timestamp.nil?
        content[:old_value] = old_value unless old_value.nil?
        @target.append({ type: text(type, "type"), key: text(key, "key"), **content, headers: headers })
      end

      def rfc3339(timestamp)
        text = Creation.timestamp(timestamp, "timestamp")
        return text if text.match?(RFC3339)

        Options.refuse("timestamp", Creation::ALLOWED_TIME, timestamp)
      end

      def text(value, name)
        Event.text?(value) ? Text.utf8(value, name) : Options.refuse(name, "a String that is not empty", value)
      end
    end
  end
end
