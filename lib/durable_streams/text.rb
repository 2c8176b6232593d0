# frozen_string_literal: true

module DurableStreams
  # Converts Strings for URLs and headers to UTF-8, the encoding that the extension takes.
  # @api private
  module Text
    class << self
      # @param value [Object] what a user passed as a URL
      # @param name [String] the argument's name, for error messages
      # @return [Object] a String or URI as UTF-8 text; anything else as it is
      # @raise [ArgumentError] if it is a String that is not valid text
      def url(value, name)
        value = value.to_s if defined?(::URI::Generic) && value.is_a?(::URI::Generic)
        value.is_a?(String) ? utf8(value, name) : value
      end

      # @param string [String] in any encoding; a binary one is treated as UTF-8
      # @param name [String] the argument's name, for error messages
      # @return [String] the same text in UTF-8
      # @raise [ArgumentError] if it is not valid text
      def utf8(string, name)
        return string if string.encoding == Encoding::UTF_8 && string.valid_encoding?

        text = binary?(string) ? string.dup.force_encoding(Encoding::UTF_8) : string.encode(Encoding::UTF_8)
        return text if text.valid_encoding?

        refuse(name, text)
      rescue EncodingError
        refuse(name, string)
      end

      private

      def binary?(string)
        [Encoding::BINARY, Encoding::UTF_8].include?(string.encoding)
      end

      def refuse(name, text)
        raise ArgumentError, "#{name} must be text that is valid in its encoding (#{text.encoding})"
      end
    end
  end
end
