# frozen_string_literal: true

module DurableStreams
  # What every error of this library is.
  #
  # Messages name the operation and the URL; userinfo and header values of the request are never in them.
  class DurableStreamError < StandardError
    # What an error of this class has when it is not told otherwise.
    # @api private
    DEFAULTS = { message: "Durable Streams error", status: nil, code: nil }.freeze

    # @return [String, nil] URL of the stream, without userinfo, and with `?…` for a query, which may hold a token
    attr_reader :url
    # @return [Integer, nil] HTTP status of the server's answer; nil where there was none
    attr_reader :status
    # @return [Hash{String => String}] headers of the server's answer, names in lower case; empty where there was none
    attr_reader :headers
    # @return [String, nil] name of the kind of error, the same in every Durable Streams client, such as "NOT_FOUND"
    attr_reader :code
    # @return [String, nil] beginning of the body of the server's answer
    attr_reader :body

    # @return [Integer, nil] the same as {#status}
    def status_code
      status
    end

    # @param message [String, nil] nil: the default message of the class
    # @param url [String, nil] URL of the stream
    # @param status [Integer, nil] nil: the status the class stands for
    # @param headers [Hash{String => String}, nil] headers of the answer
    # @param body [String, nil] body of the answer
    # @param code [String, nil] nil: the code of the class
    # @param outcome_unknown [Boolean] whether the request may have taken effect all the same
    # @param retryable [Boolean, nil] nil: by the kind of error
    def initialize(message = nil, url: nil, status: nil, headers: nil, body: nil, code: nil,
                   outcome_unknown: false, retryable: nil)
      defaults = self.class::DEFAULTS
      @url = url
      @status = status || defaults[:status]
      @headers = headers || {}
      @body = body
      @code = code || defaults[:code]
      @outcome_unknown = outcome_unknown
      @retryable = retryable
      super(message || default_message)
    end

    # Whether the request may have taken effect although no answer came, or only a success that the protocol does not
    # have (another status, no Stream-Next-Offset): the append may be in the stream.
    # Such a request is not repeated by the library unless a repetition cannot do harm.
    # @return [Boolean]
    def outcome_unknown?
      @outcome_unknown ? true : false
    end

    # Whether the same call may well succeed later, and is safe to repeat. False where {#outcome_unknown?}. Of an answer
    # the client's {RetryPolicy#retryable_statuses} say whether it passes.
    # @return [Boolean]
    def retryable?
      return @retryable ? true : false unless @retryable.nil?

      !outcome_unknown? && passing?
    end

    private

    def default_message
      text = self.class::DEFAULTS[:message]
      url ? "#{text}: #{url}" : text
    end

    # Whether an error of this kind goes by on its own.
    def passing?
      RetryPolicy::RETRYABLE_STATUSES.include?(status)
    end
  end

  # The name that the pure-Ruby client has for {DurableStreamError}; the same class.
  Error = DurableStreamError

  # 400: the server does not accept the request as it is, such as an offset that is none.
  class BadRequestError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Bad request", status: 400, code: "BAD_REQUEST" }.freeze
  end

  # 401: the server wants (other) credentials. On a read, callables have been asked for fresh ones first.
  class UnauthorizedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Unauthorized", status: 401, code: "UNAUTHORIZED" }.freeze
  end

  # 403: the credentials do not allow this.
  class ForbiddenError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Forbidden", status: 403, code: "FORBIDDEN" }.freeze
  end

  # A producer's id belongs to another one, which has claimed it with a higher epoch (403), or with the same.
  class StaleEpochError < ForbiddenError
    # @api private
    DEFAULTS = { message: "Stale producer epoch", status: 403, code: "FORBIDDEN" }.freeze

    # @return [Integer, nil] the epoch that holds the id now
    attr_reader :current_epoch

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param current_epoch [Integer, nil] the epoch that holds the id now
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, current_epoch: nil, **attributes)
      @current_epoch = current_epoch
      super(message, **attributes)
    end
  end

  # A producer's id and epoch were used before, by an earlier run: the server takes what is sent under them for a
  # repetition and does not store it. Nothing was stored, and `undelivered` has every message. Use a higher epoch, or
  # `auto_claim: true`, which does that by itself. See {Producer}.
  class EpochReusedError < StaleEpochError
    # @api private
    DEFAULTS = { message: "Producer epoch was used before", status: nil, code: "FORBIDDEN" }.freeze
  end

  # 404: there is no such stream.
  class StreamNotFoundError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream not found", status: 404, code: "NOT_FOUND" }.freeze
  end

  # 410: the stream is deleted (but still has forks), or the offset is older than what the server keeps.
  class StreamGoneError < StreamNotFoundError
    # @api private
    DEFAULTS = { message: "Stream is gone", status: 410, code: "GONE" }.freeze
  end

  # 409 on create: the stream exists with another configuration.
  class StreamExistsError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream already exists", status: 409, code: "CONFLICT_EXISTS" }.freeze
  end

  # 409 with Stream-Closed: the stream takes no more data, ever.
  class StreamClosedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream is closed", status: 409, code: "STREAM_CLOSED" }.freeze

    # @return [String, nil] the offset after the last data of the stream
    attr_reader :final_offset

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param final_offset [String, nil] the offset after the last data of the stream
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, final_offset: nil, **attributes)
      @final_offset = final_offset
      super(message, **attributes)
    end
  end

  # 409 on an append with `seq`: the value is not above the last one that the stream saw.
  class SeqConflictError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Sequence conflict", status: 409, code: "CONFLICT_SEQ" }.freeze
  end

  # 409: the data's content type is not the stream's.
  class ContentTypeMismatchError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Content type mismatch", status: 409, code: "CONFLICT" }.freeze

    # @return [String, nil] the stream's content type, where it is known
    attr_reader :expected
    # @return [String, nil] the content type of the data
    attr_reader :actual

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param expected [String, nil] the stream's content type
    # @param actual [String, nil] the content type of the data
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, expected: nil, actual: nil, **attributes)
      @expected = expected
      @actual = actual
      super(message, **attributes)
    end

    private

    def default_message
      return super unless expected || actual

      "Content type mismatch: expected #{expected}, got #{actual}#{" (#{url})" if url}"
    end
  end

  # 409 with the producer's numbers: a batch before this one is missing on the server.
  class SequenceGapError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Sequence gap", status: 409, code: "SEQUENCE_GAP" }.freeze

    # @return [Integer, nil] the batch number that the server waits for
    attr_reader :expected_seq
    # @return [Integer, nil] the batch number that it got
    attr_reader :received_seq

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param expected_seq [Integer, nil] the batch number that the server waits for
    # @param received_seq [Integer, nil] the batch number that it got
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, expected_seq: nil, received_seq: nil, **attributes)
      @expected_seq = expected_seq
      @received_seq = received_seq
      super(message, **attributes)
    end

    private

    def default_message
      return super unless expected_seq || received_seq

      "Sequence gap: expected #{expected_seq}, got #{received_seq}#{" (#{url})" if url}"
    end
  end

  # 413: the server does not take that much in one request.
  class PayloadTooLargeError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Payload too large", status: 413, code: "PAYLOAD_TOO_LARGE" }.freeze
  end

  # 429, still, after the retries of the {RetryPolicy}.
  class RateLimitedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Rate limited", status: 429, code: "RATE_LIMITED" }.freeze

    # @return [Numeric, nil] seconds after which the server asks to come back
    attr_reader :retry_after

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param retry_after [Numeric, nil] seconds after which the server asks to come back
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, retry_after: nil, **attributes)
      @retry_after = retry_after
      super(message, **attributes)
    end
  end

  # Any other status that is not a success.
  class FetchError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Fetch error", status: nil, code: "UNEXPECTED_STATUS" }.freeze
  end

  # No connection could be made, or it was lost. Where {DurableStreamError#outcome_unknown?}, an append may have landed.
  class ConnectionError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Connection error", status: nil, code: "NETWORK_ERROR" }.freeze

    private

    def passing?
      true
    end
  end

  # The client's `timeout` passed in silence. Where {DurableStreamError#outcome_unknown?}, an append may have landed.
  class TimeoutError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Request timeout", status: nil, code: "TIMEOUT" }.freeze

    private

    def passing?
      true
    end
  end

  # Malformed JSON (in what is appended, or from the server), malformed SSE, malformed base64.
  class ParseError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Parse error", status: nil, code: "PARSE_ERROR" }.freeze
  end

  # The client, reader or producer was closed before.
  class ClosedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Producer is closed", status: nil, code: "CLOSED" }.freeze
  end

  # SSE was asked for where the content type does not allow it. Kept for code written for the pure-Ruby client.
  class SSENotSupportedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "SSE not supported", status: 400, code: "SSE_NOT_SUPPORTED" }.freeze

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param content_type [String, nil] the stream's content type
    # @param attributes [Hash] as {DurableStreamError#initialize} takes them
    def initialize(message = nil, content_type: nil, **attributes)
      super(message || (content_type && "SSE not supported for content type: #{content_type}"), **attributes)
    end
  end

  # A reader was read a second time. Readers of this library go on instead; kept for code written for the pure-Ruby
  # client.
  class AlreadyConsumedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Reader already consumed", status: nil, code: "ALREADY_CONSUMED" }.freeze
  end
end
