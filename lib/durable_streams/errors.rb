# frozen_string_literal: true

module DurableStreams
  # The base class of this library's errors.
  #
  # Messages name the operation and the URL. They never contain userinfo or request header values.
  class DurableStreamError < StandardError
    # Attributes that an error of this class has by default.
    # @api private
    DEFAULTS = { message: "Durable Streams error", status: nil, code: nil }.freeze

    # @return [String, nil] URL of the stream, without userinfo; a query, which may hold a token, is shown as `?…`
    attr_reader :url
    # @return [Integer, nil] HTTP status of the response; nil if there was none
    attr_reader :status
    # @return [Hash{String => String}] headers of the response, names in lower case; empty if there was none
    attr_reader :headers
    # @return [String, nil] code of the kind of error, the same in every Durable Streams client, such as "NOT_FOUND"
    attr_reader :code
    # @return [String, nil] beginning of the response's body
    attr_reader :body
    # @return [Integer, nil] how many times the request was tried; for a read, since its last success. nil if no request
    #   was sent
    attr_reader :attempts
    # @return [Float, nil] seconds from the start of the first of these tries to the error; for an append with
    #   `exactly_once`, from the call
    attr_reader :elapsed

    # @return [Integer, nil] the same as {#status}
    def status_code
      status
    end

    # @param message [String, nil] nil: the default message of the class
    # @param url [String, nil] URL of the stream
    # @param status [Integer, nil] nil: the default status of the class
    # @param headers [Hash{String => String}, nil] headers of the response
    # @param body [String, nil] body of the response
    # @param code [String, nil] nil: the code of the class
    # @param outcome_unknown [Boolean] whether the request may have taken effect
    # @param retryable [Boolean, nil] nil: depends on the kind of error
    # @param attempts [Integer, nil] how many times the request was tried
    # @param elapsed [Float, nil] seconds from the start of the first try to the error
    def initialize(message = nil, url: nil, status: nil, headers: nil, body: nil, code: nil,
                   outcome_unknown: false, retryable: nil, attempts: nil, elapsed: nil)
      defaults = self.class::DEFAULTS
      @url = url
      @status = status || defaults[:status]
      @headers = headers || {}
      @body = body
      @code = code || defaults[:code]
      @outcome_unknown = outcome_unknown
      @retryable = retryable
      @attempts = attempts
      @elapsed = elapsed
      super(message || default_message)
    end

    # Whether a write may have taken effect: the response to one of its tries was lost, was a 5xx (a gateway's 502 says
    # nothing about the server behind it), or was a success that the protocol does not define (another status, no
    # Stream-Next-Offset), and no later try succeeded. An append may be in the stream.
    #
    # The library repeats such a request only where that is safe. A plain append and `close_stream` with data raise at
    # once: {Producer#append!} and `exactly_once: true` retry them safely.
    # @return [Boolean]
    def outcome_unknown?
      @outcome_unknown ? true : false
    end

    # Whether the same call may succeed later and is safe to repeat. If {#outcome_unknown?}, an append without `seq`,
    # `close_stream` with data and a producer's messages are not: they might be stored twice. For an error status, the
    # client's {RetryPolicy#retryable_statuses} decide.
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

    # Whether the cause of this kind of error is usually temporary.
    def passing?
      RetryPolicy::RETRYABLE_STATUSES.include?(status)
    end
  end

  # {DurableStreamError} under the pure-Ruby client's name; the same class.
  Error = DurableStreamError

  # 400: the server rejects the request as malformed, for example because of an invalid offset.
  class BadRequestError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Bad request", status: 400, code: "BAD_REQUEST" }.freeze
  end

  # 401: credentials are missing or invalid. For a read, value callables were called again for fresh credentials first.
  class UnauthorizedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Unauthorized", status: 401, code: "UNAUTHORIZED" }.freeze
  end

  # 403: the credentials do not allow this operation.
  class ForbiddenError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Forbidden", status: 403, code: "FORBIDDEN" }.freeze
  end

  # Another producer has claimed this producer's id with a higher epoch (403), or uses it in the same epoch. Or the
  # server has closed this epoch, as replicated servers do after they lost data: `current_epoch` is the producer's own.
  class StaleEpochError < ForbiddenError
    # @api private
    DEFAULTS = { message: "Stale producer epoch", status: 403, code: "FORBIDDEN" }.freeze

    # @return [Integer, nil] the epoch that holds the id now
    attr_reader :current_epoch

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param current_epoch [Integer, nil] the epoch that holds the id now
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, current_epoch: nil, **attributes)
      @current_epoch = current_epoch
      super(message, **attributes)
    end
  end

  # An earlier run used this producer's id and epoch. The server treats its batches as duplicates and does not store
  # them. Nothing was stored, and `undelivered` lists every message. Use a higher epoch, or `auto_claim: true`, which
  # claims the next epoch itself. See {Producer}.
  class EpochReusedError < StaleEpochError
    # @api private
    DEFAULTS = { message: "Producer epoch was used before", status: nil, code: "FORBIDDEN" }.freeze
  end

  # 404: the stream does not exist.
  class StreamNotFoundError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream not found", status: 404, code: "NOT_FOUND" }.freeze
  end

  # 410: the stream is deleted but still has forks, or the offset is older than the data that the server retains.
  class StreamGoneError < StreamNotFoundError
    # @api private
    DEFAULTS = { message: "Stream is gone", status: 410, code: "GONE" }.freeze
  end

  # 409 on create: the stream exists with another configuration.
  class StreamExistsError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream already exists", status: 409, code: "CONFLICT_EXISTS" }.freeze
  end

  # 409 with Stream-Closed: the stream is permanently closed and accepts no more data.
  class StreamClosedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Stream is closed", status: 409, code: "STREAM_CLOSED" }.freeze

    # @return [String, nil] the offset of the stream's end
    attr_reader :final_offset

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param final_offset [String, nil] the offset of the stream's end
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, final_offset: nil, **attributes)
      @final_offset = final_offset
      super(message, **attributes)
    end
  end

  # 409 on an append with `seq`: the value is not above the last one in the stream.
  class SeqConflictError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Sequence conflict", status: 409, code: "CONFLICT_SEQ" }.freeze
  end

  # 409: the content type of the data is not the stream's.
  class ContentTypeMismatchError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Content type mismatch", status: 409, code: "CONFLICT" }.freeze

    # @return [String, nil] the stream's content type, if known
    attr_reader :expected
    # @return [String, nil] the content type of the data
    attr_reader :actual

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param expected [String, nil] the stream's content type
    # @param actual [String, nil] the content type of the data
    # @param attributes [Hash] see {DurableStreamError#initialize}
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

  # 409 with the producer's sequence numbers: the server is missing a batch before this one.
  class SequenceGapError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Sequence gap", status: 409, code: "SEQUENCE_GAP" }.freeze

    # @return [Integer, nil] the sequence number that the server expected
    attr_reader :expected_seq
    # @return [Integer, nil] the sequence number that it received
    attr_reader :received_seq

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param expected_seq [Integer, nil] the sequence number that the server expected
    # @param received_seq [Integer, nil] the sequence number that it received
    # @param attributes [Hash] see {DurableStreamError#initialize}
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

  # 409 on the creation of a subscription: it exists with another configuration.
  class SubscriptionExistsError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Subscription already exists", status: 409, code: "SUBSCRIPTION_EXISTS" }.freeze
  end

  # The server has no subscriptions: it responds with 404 or 405, or as to a request about an ordinary stream.
  class SubscriptionsNotSupportedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "The server has no subscriptions", status: nil, code: "SUBSCRIPTIONS_NOT_SUPPORTED" }.freeze
  end

  # 409 on a claim: a worker has the subscription.
  class AlreadyClaimedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Subscription is claimed", status: 409, code: "ALREADY_CLAIMED" }.freeze

    # @return [String, nil] the name of the worker that has it
    attr_reader :current_holder
    # @return [Integer, nil] the generation of its claim
    attr_reader :generation

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param current_holder [String, nil] the name of the worker that has it
    # @param generation [Integer, nil] the generation of its claim
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, current_holder: nil, generation: nil, **attributes)
      @current_holder = current_holder
      @generation = generation
      super(message, **attributes)
    end
  end

  # 409 for a worker or a webhook: its claim has ended, because its lease ran out. Another worker may have a later one.
  # What this claim did not ack is handled again.
  class FencedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Claim has ended", status: 409, code: "FENCED" }.freeze
  end

  # 413: the request body is larger than the server accepts.
  class PayloadTooLargeError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Payload too large", status: 413, code: "PAYLOAD_TOO_LARGE" }.freeze
  end

  # 429: rate limited, and the retries of the {RetryPolicy} did not help.
  class RateLimitedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Rate limited", status: 429, code: "RATE_LIMITED" }.freeze

    # @return [Numeric, nil] seconds to wait, from the server's Retry-After
    attr_reader :retry_after

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param retry_after [Numeric, nil] seconds to wait, from the server's Retry-After
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, retry_after: nil, **attributes)
      @retry_after = retry_after
      super(message, **attributes)
    end
  end

  # Any other status that is not a success. Also raised for a response that does not follow the protocol.
  class FetchError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Fetch error", status: nil, code: "UNEXPECTED_STATUS" }.freeze
  end

  # The connection failed or was lost. If {DurableStreamError#outcome_unknown?}, an append may be in the stream.
  class ConnectionError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Connection error", status: nil, code: "NETWORK_ERROR" }.freeze

    private

    def passing?
      true
    end
  end

  # No data arrived for `timeout` seconds. If {DurableStreamError#outcome_unknown?}, an append may be in the stream.
  class TimeoutError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Request timeout", status: nil, code: "TIMEOUT" }.freeze

    private

    def passing?
      true
    end
  end

  # Malformed JSON (appended, or from the server), SSE or base64.
  class ParseError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Parse error", status: nil, code: "PARSE_ERROR" }.freeze
  end

  # The client, reader or producer is closed.
  class ClosedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Producer is closed", status: nil, code: "CLOSED" }.freeze
  end

  # The response to an SSE read is not an event stream.
  class SSENotSupportedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "SSE not supported", status: 400, code: "SSE_NOT_SUPPORTED" }.freeze

    # @param message [String, nil] see {DurableStreamError#initialize}
    # @param content_type [String, nil] the stream's content type
    # @param attributes [Hash] see {DurableStreamError#initialize}
    def initialize(message = nil, content_type: nil, **attributes)
      super(message || (content_type && "SSE not supported for content type: #{content_type}"), **attributes)
    end
  end

  # A reader was read twice. Never raised here, where a second read continues; exists for code written for the pure-Ruby
  # client.
  class AlreadyConsumedError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Reader already consumed", status: nil, code: "ALREADY_CONSUMED" }.freeze
  end
end
