# frozen_string_literal: true

module DurableStreams
  # Encodes appended data as the bytes of one message. Strings pass unchanged: the extension checks that they are JSON
  # on a JSON stream, and sends their bytes on other streams.
  # @api private
  module Message
    ALLOWED_ON_JSON = "a Hash, an Array, a number, true, false, nil, an object with its own to_json, " \
                      "or a String of JSON"

    class << self
      # @param data [Object]
      # @param json [Boolean] whether the stream is a JSON stream
      # @param content_type [String, nil] for error messages
      # @return [String]
      # @raise [ArgumentError] if the stream does not accept such data
      # @raise [JSON::GeneratorError] if the data has no JSON form: NaN, text that is not valid UTF-8
      def encode(data, json, content_type)
        case data
        when String then data
        when Hash, Array, Numeric, true, false, nil
          json ? ::JSON.generate(data) : refuse(data, content_type)
        else
          # Calls to_json itself: JSON.generate would bypass a to_json that Active Support defines.
          json && own_to_json?(data) ? data.to_json : refuse(data, content_type, json: json)
        end
      end

      # Returns an undelivered message as it was appended. If the object has changed since, returns its encoded form.
      # @param original [Object] the object passed to append
      # @param text [String] its encoded form at that time
      # @return [Object] the original if it still encodes to the same text, else the text, which can be appended instead
      def as_appended(original, text)
        original.is_a?(String) || encode(original, true, nil).b == text.b ? original : text
      rescue StandardError, SystemStackError
        text
      end

      private

      # The json library defines to_json for every object, as its to_s in quotes. Appending that is never intended.
      def own_to_json?(data)
        # Uses Kernel's method: an object may define another `method`, as HTTP request classes do.
        Kernel.instance_method(:method).bind_call(data, :to_json).owner != json_for_every_object
      end

      # @return [Module] the owner of that to_json: one module since json 3, one of several before
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
