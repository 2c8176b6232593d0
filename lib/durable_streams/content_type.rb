# frozen_string_literal: true

module DurableStreams
  # Checks content types and classifies them. The extension has the rules of the classification.
  # @api private
  module ContentType
    # Short names for common content types.
    NAMES = { json: "application/json", bytes: "application/octet-stream", text: "text/plain" }.freeze

    # The content type of a stream whose server names none.
    FALLBACK = NAMES[:bytes]

    class << self
      # @param content_type [String, Symbol, nil]
      # @return [String, nil] a MIME type; nil for nil
      # @raise [ArgumentError] for any other Symbol, a String without a slash, or another class
      def normalize(content_type)
        case content_type
        when nil then nil
        when Symbol then NAMES.fetch(content_type) { invalid(content_type) }
        when String
          type = Text.utf8(content_type, "content_type")
          type.include?("/") ? type : invalid(content_type)
        else invalid(content_type)
        end
      end

      # @param content_type [String, nil]
      # @return [Boolean] whether messages are JSON values: application/json or anything ending in +json
      def json?(content_type)
        !content_type.nil? && Native.json_type?(content_type)
      end

      # @param content_type [String, nil]
      # @return [Boolean] whether the data is text
      def text?(content_type)
        !content_type.nil? && Native.text_type?(content_type)
      end

      # @param content_type [String, nil]
      # @return [Boolean] whether SSE carries this type unencoded, without base64
      def plain_in_sse?(content_type)
        !content_type.nil? && Native.plain_in_sse?(content_type)
      end

      private

      def invalid(content_type)
        Options.refuse("content_type", ":json, :bytes, :text or a MIME type such as \"text/csv\"", content_type)
      end
    end
  end
end
