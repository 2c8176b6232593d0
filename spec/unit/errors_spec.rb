# frozen_string_literal: true

RSpec.describe "Errors" do
  table = {
    BadRequestError: [400, "BAD_REQUEST"],
    UnauthorizedError: [401, "UNAUTHORIZED"],
    ForbiddenError: [403, "FORBIDDEN"],
    StaleEpochError: [403, "FORBIDDEN"],
    StreamNotFoundError: [404, "NOT_FOUND"],
    StreamGoneError: [410, "GONE"],
    StreamExistsError: [409, "CONFLICT_EXISTS"],
    StreamClosedError: [409, "STREAM_CLOSED"],
    SeqConflictError: [409, "CONFLICT_SEQ"],
    ContentTypeMismatchError: [409, "CONFLICT"],
    SequenceGapError: [409, "SEQUENCE_GAP"],
    PayloadTooLargeError: [413, "PAYLOAD_TOO_LARGE"],
    RateLimitedError: [429, "RATE_LIMITED"],
    FetchError: [nil, "UNEXPECTED_STATUS"],
    ConnectionError: [nil, "NETWORK_ERROR"],
    TimeoutError: [nil, "TIMEOUT"],
    ParseError: [nil, "PARSE_ERROR"],
    ClosedError: [nil, "CLOSED"],
    ProducerError: [nil, nil],
    SSENotSupportedError: [400, "SSE_NOT_SUPPORTED"],
    AlreadyConsumedError: [nil, "ALREADY_CONSUMED"]
  }

  table.each do |name, (status, code)|
    describe name do
      let(:error_class) { DurableStreams.const_get(name) }

      it "is a DurableStreamError with its own status and code" do
        error = error_class.new(url: "http://host/stream")
        expect(error).to be_a(DurableStreams::DurableStreamError)
        expect(error).to have_attributes(status: status, status_code: status, code: code, url: "http://host/stream",
                                         headers: {}, body: nil, outcome_unknown?: false)
        expect(error.message).to end_with("http://host/stream")
      end

      it "has the status, code, headers and body of a response" do
        error = error_class.new("what happened", status: 499, code: "OTHER", headers: { "a" => "b" }, body: "text",
                                                 outcome_unknown: true, retryable: true)
        expect(error).to have_attributes(message: "what happened", status: 499, code: "OTHER",
                                         headers: { "a" => "b" }, body: "text", outcome_unknown?: true,
                                         retryable?: true)
      end

      it "can be raised with and without a message" do
        expect { raise error_class }.to raise_error(error_class, /\S/)
        expect { raise error_class, "why" }.to raise_error(error_class, "why")
      end
    end
  end

  it "has the pure-Ruby client's name of the base class" do
    expect(DurableStreams::Error).to equal(DurableStreams::DurableStreamError)
  end

  it "makes StreamGoneError a StreamNotFoundError and StaleEpochError a ForbiddenError" do
    expect(DurableStreams::StreamGoneError.new).to be_a(DurableStreams::StreamNotFoundError)
    expect(DurableStreams::StaleEpochError.new).to be_a(DurableStreams::ForbiddenError)
  end

  it "has the attributes of single error classes" do
    expect(DurableStreams::StaleEpochError.new(current_epoch: 3).current_epoch).to eq(3)
    expect(DurableStreams::StreamClosedError.new(final_offset: "7").final_offset).to eq("7")
    expect(DurableStreams::RateLimitedError.new(retry_after: 1.5).retry_after).to eq(1.5)
    gap = DurableStreams::SequenceGapError.new(expected_seq: 2, received_seq: 5)
    expect(gap).to have_attributes(expected_seq: 2, received_seq: 5, message: "Sequence gap: expected 2, got 5")
    mismatch = DurableStreams::ContentTypeMismatchError.new(expected: "a/b", actual: "c/d", url: "http://h/s")
    expect(mismatch.message).to eq("Content type mismatch: expected a/b, got c/d (http://h/s)")
  end

  describe "retryable?" do
    it "is true for temporary failures" do
      passing = [DurableStreams::ConnectionError.new, DurableStreams::TimeoutError.new,
                 DurableStreams::RateLimitedError.new, DurableStreams::FetchError.new(status: 503)]
      expect(passing).to all(be_retryable)
    end

    it "is false for permanent failures and if a retry could store data twice" do
      staying = [DurableStreams::StreamNotFoundError.new, DurableStreams::ParseError.new,
                 DurableStreams::FetchError.new(status: 418),
                 DurableStreams::ConnectionError.new(outcome_unknown: true)]
      expect(staying.map(&:retryable?)).to all(be(false))
    end
  end
end
