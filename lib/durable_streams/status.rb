# frozen_string_literal: true

module DurableStreams
  # What an HTTP status means, for code that makes requests of its own. (The library's errors come from the extension.)
  # @api private
  module Status
    ERRORS = { 400 => BadRequestError, 401 => UnauthorizedError, 403 => ForbiddenError, 404 => StreamNotFoundError,
               410 => StreamGoneError, 413 => PayloadTooLargeError, 429 => RateLimitedError }.freeze
    # The answers whose bodies say no more than their errors do.
    PLAIN = [404, 409, 410, 429].freeze
    private_constant :ERRORS, :PLAIN

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
        case status
        when 409 then conflict(headers)
        when 429 then [RateLimitedError, { retry_after: whole(headers["retry-after"]) }]
        when 403
          epoch = whole(headers[PRODUCER_EPOCH_HEADER])
          epoch ? [StaleEpochError, { current_epoch: epoch }] : [ForbiddenError, {}]
        else [ERRORS.fetch(status, FetchError), {}]
        end
      end

      def conflict(headers)
        if headers[STREAM_CLOSED_HEADER].to_s.casecmp?("true")
          return [StreamClosedError, { final_offset: headers[STREAM_NEXT_OFFSET_HEADER] }]
        end

        expected, received = headers.values_at(PRODUCER_EXPECTED_SEQ_HEADER, PRODUCER_RECEIVED_SEQ_HEADER)
        if expected || received
          return [SequenceGapError, { expected_seq: whole(expected), received_seq: whole(received) }]
        end

        [headers.key?(STREAM_SEQ_HEADER) ? SeqConflictError : StreamExistsError, {}]
      end

      def whole(number)
        Integer(number, 10, exception: false) if number.is_a?(String)
      end
    end
  end
end
