# frozen_string_literal: true

module DurableStreams
  module Testing
    # A response to a request.
    class MockResponse
      # @return [Integer] HTTP status
      attr_reader :status
      # @return [String]
      attr_reader :body
      # @return [Hash{String => String}] names in lower case
      attr_reader :headers

      # @param status [Integer] from 100 to 999
      # @param body [String, Object] any other object than a String is sent as JSON
      # @param headers [Hash] name => value; nil omits a header
      # @raise [ArgumentError] if the status is out of range
      def initialize(status:, body: "", headers: {})
        @status = Options.integer("status", status, 100..999)
        @body = body.is_a?(String) ? body : JSON.generate(body)
        @headers = headers.to_h { |name, value| [name.to_s.downcase, value&.to_s] }
      end

      # @return [Boolean] whether the status is a 2xx
      def success?
        status.between?(200, 299)
      end

      # @param header [String, Symbol] its name, in any case
      # @return [String, nil]
      def [](header)
        @headers[header.to_s.downcase]
      end

      # Returns a copy with default headers where it has none.
      # @api private
      # @param defaults [Hash{String => String, nil}]
      # @return [MockResponse]
      def with_defaults(defaults)
        self.class.new(status: status, body: body, headers: defaults.merge(headers))
      end

      # Sends the response.
      # @api private
      # @param request [Native::Request]
      # @return [nil]
      def send_to(request)
        request.respond(status, headers.compact, body)
      end
    end
  end
end
