# frozen_string_literal: true

module DurableStreams
  # Encodes appended data as the bytes of one message. Strings pass unchanged: the extension checks that they are JSON
  # on a JSON stream, and sends their bytes on other streams.
  # @api private
  module Message
    ALLOWED_ON_JSON = "a Hash, an Array, a number, true, false, nil, an object with its own to_json, " \
                      "or a String of JSON"

    ALLOWED_ELSEWHERE = "append a String, such as its to_json, or create the stream with content_type: :json"
    CONVERT = "convert it to one of these, or set json_encoder"
    private_constant :ALLOWED_ELSEWHERE, :CONVERT

    @default_encoder = nil

    class << self
      # The encoder where the application has not chosen one. nil: `JSON.generate`, with {own_to_json?}.
      # @return [#call, nil]
      attr_accessor :default_encoder

      # @param data [Object]
      # @param json [Boolean] whether the stream is a JSON stream
      # @param content_type [String, nil] for error messages
      # @param encoder [#call, false, nil] see {Configuration#chosen_json_encoder}
      # @return [String]
      # @raise [ArgumentError] if the stream does not accept such data, or the encoder does not return a String
      # @raise [ParseError] if the encoder returns a String that is not JSON; also raises what the encoder raises
      # @raise [JSON::GeneratorError] if the data has no JSON form: NaN, text that is not valid UTF-8
      def encode(data, json, content_type, encoder)
        return data if data.is_a?(String)
        return refuse(data, "a stream of #{content_type}", "a String", ALLOWED_ELSEWHERE) unless json

        encoder = @default_encoder if encoder.nil?
        return encode_with(encoder, data) if encoder

        case data
        when Hash, Array, Numeric, true, false, nil then generate(data)
        else
          # Calls to_json itself: JSON.generate would bypass a to_json that Active Support defines.
          own_to_json?(data) ? data.to_json : refuse(data, "a JSON stream", ALLOWED_ON_JSON, CONVERT)
        end
      end

      private

      def generate(data)
        ::JSON.generate(data)
      rescue ::JSON::JSONError => e
        hint = e.is_a?(::JSON::NestingError) ? "is it part of itself?" : "JSON has no NaN or Infinity, and is UTF-8"
        # The json gem begins some messages with the line of its code that made them.
        raise e.exception("cannot encode #{data.class} as JSON: #{e.message.sub(/\A\d+: /, "")} (#{hint})")
      end

      def encode_with(encoder, data)
        text = encoder.call(data)
        unless text.is_a?(String)
          raise ArgumentError, "json_encoder must return a String of JSON, got #{text.class} for #{data.class}"
        end

        begin
          Native.check_json(text)
        rescue ParseError => e
          raise ParseError, "json_encoder must return JSON, but for #{data.class} it returned #{e.message}"
        end
        text
      end

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

      def refuse(data, what, allowed, advice)
        raise ArgumentError, "#{what} takes #{allowed}, got #{Options.class_of(data)}: #{advice}"
      end
    end
  end
end
