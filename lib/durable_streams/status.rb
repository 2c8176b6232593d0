# frozen_string_literal: true

module DurableStreams
  # Maps an HTTP status to an error, for code that makes its own requests. The extension has the table.
  # @api private
  module Status
    # Statuses whose errors say as much as their response bodies.
    GENERIC = [404, 409, 410, 429].freeze
    private_constant :GENERIC

    class << self
      # @see DurableStreams.error_from_status
      def error(status, url, body, headers, operation)
        headers = headers.to_h.transform_keys { |name| name.to_s.downcase }
        type, details = meaning(status, headers)
        url = Redaction.url(url&.to_s)
        text = body.to_s unless GENERIC.include?(status) || body.to_s.empty?
        text ||= "HTTP #{status}" if type == FetchError
        text = "#{operation} #{url}: #{text || type::DEFAULTS[:message]}" if operation
        type.new(text, url: url, status: status, headers: headers, body: body, **details)
      end

      private

      def meaning(status, headers)
        values = headers.compact.transform_values { |value| Array(value).join(", ") }
        name, details = Native.meaning_of(status, values)
        [DurableStreams.const_get(name), details]
      end
    end
  end
end
