# frozen_string_literal: true

module DurableStreams
  # Turns what callers append into the bytes of one message. Strings are left to the extension: on JSON streams they
  # are JSON already and are checked there, elsewhere they are bytes.
  # @api private
  module Message
    ALLOWED_ON_JSON = "a Hash, an Array, a number, true, false, nil, an object with its own to_json, " \
                      "or a String that is JSON already"

    class << self
      # @param data [Object]
      # @param json [Boolean] whether the stream is a JSON stream
      # @param content_type [String, nil] for the message of the error
      # @return [String]
      # @raise [ArgumentError] if a stream of this type does not take such data
      # @raise [JSON::GeneratorError] if the data cannot be written as JSON: NaN, text that is not UTF-8
      def encode(data, json, content_type)
        case data
        when String then data
        when Hash, Array, Numeric, true, false, nil
          json ? ::JSON.generate(data) : refuse(data, content_type)
        else
          # Asked directly, as a user would: JSON.generate goes past what Active Support makes of to_json.
          json && own_to_json?(data) ? data.to_json : refuse(data, content_type, json: json)
        end
      end

      # What to give back of a message that was not delivered: what was passed, unless it has changed since.
      # @param original [Object] what was passed to append
      # @param text [String] what it was encoded as then
      # @return [Object] the original if it is encoded so still, else the text, which can be appended in its place
      def as_appended(original, text)
        original.is_a?(String) || encode(original, true, nil).b == text.b ? original : text
      rescue StandardError, SystemStackError
        text
      end

      private

      # The json library gives every object a to_json that writes its to_s, which nobody means by appending it.
      def own_to_json?(data)
        # Asked in Kernel's way: an object may have a `method` of its own, such as a request's.
        Kernel.instance_method(:method).bind_call(data, :to_json).owner != json_for_every_object
      end

      # @return [Module] what has that to_json: since json 3 one for all classes, before one of several
      def json_for_every_object
        return ::JSON::GeneratorMethods if ::JSON.const_defined?(:GeneratorMethods, false)

        ::JSON.generator::GeneratorMethods::Object
      end

      def refuse(data, content_type, json: false)
        kind, allowed = json ? ["a JSON stream", ALLOWED_ON_JSON] : ["a stream of #{content_type}", "a String"]
        raise ArgumentError, "#{kind} takes #{allowed}, got #{data.class}"
      end
    end
  end
end
