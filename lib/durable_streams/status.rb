# frozen_string_literal: true

module DurableStreams
  # What an HTTP status means, for code that makes requests of its own: what it means to the extension.
  # @api private
  module Status
    # The answers whose bodies say no more than their errors do.
    PLAIN = [404, 409, 410, 429].freeze
    private_constant :PLAIN

    class << self
      # @see DurableStreams.error_from_status
      def error(status, url, body, headers, operation)
        headers = headers.to_h.transform_keys { |name| name.to_s.downcase }
        type, details = meaning(status, headers)
        url = Redaction.url(url&.to_s)
        said = body.to_s unless PLAIN.include?(status) || body.to_s.empty?
        said ||= "HTTP #{status}" if type == FetchError
        said = "#{operation} #{url}: #{said || type::DEFAULTS[:message]}" if operation
        type.new(said, url: url, status: status, headers: headers, body: body, **details)
      end

      private

      def meaning(status, headers)
        texts = headers.compact.transform_values { |value| Array(value).join(", ") }
        name, details = Native.meaning_of(status, texts)
        [DurableStreams.const_get(name), details]
      end
    end
  end
end
