# frozen_string_literal: true

# Every status means the same error for every operation, except where the tables below say otherwise.
RSpec.describe "The meaning of a response", :faults do
  # The statuses with their own error class. Every other status raises FetchError with UNEXPECTED_STATUS.
  named = {
    400 => :BadRequestError, 401 => :UnauthorizedError, 403 => :ForbiddenError, 404 => :StreamNotFoundError,
    410 => :StreamGoneError, 413 => :PayloadTooLargeError, 429 => :RateLimitedError
  }.freeze
  # The statuses of the default policy. The policy of these requests has the same statuses and no retries.
  retryable = [429, 500, 502, 503, 504].freeze
  statuses = [202, 203, 206, 207, 226, 299, 300, 304, 305, 306, 399, *400..408, *410..418, *421..426, 428, 429, 431,
              451, 499, *500..508, 510, 511, 520, 530, 599].freeze

  # Statuses whose meaning depends on headers: the error for each path; `any` is for all other paths.
  closed = { "stream-closed" => "true", "stream-next-offset" => "9" }.freeze
  gap = { "producer-expected-seq" => "5", "producer-received-seq" => "7" }.freeze
  by_header = {
    [403, { "producer-epoch" => "4" }] =>
      { any: :ForbiddenError, "producer" => :StaleEpochError, "error_from_status" => :StaleEpochError },
    [409, {}] =>
      { any: :FetchError, "create" => :StreamExistsError, "append" => :ContentTypeMismatchError,
        "append with seq" => :SeqConflictError, "close_stream" => :ContentTypeMismatchError,
        "close_stream with data" => :ContentTypeMismatchError, "producer" => :ContentTypeMismatchError,
        "error_from_status" => :StreamExistsError },
    [409, closed] =>
      { any: :StreamClosedError, "create" => :StreamExistsError, "close_stream" => nil },
    [409, gap] =>
      { any: :SequenceGapError, "create" => :StreamExistsError }
  }.freeze

  # Whether the server may have stored the data although the operation raises.
  idempotent = ["create", "append with seq", "close_stream", "delete"]
  writes = [*idempotent, "append", "close_stream with data", "producer"]
  may_be_stored = ->(path, status) { writes.include?(path) && (status.between?(200, 299) || status >= 500) }

  paths = FaultHelpers::REQUESTS.transform_values { |kind| ->(stream, *) { kind.send_on(stream) } }
  FaultReads::MODES.each { |mode| paths["read live: :#{mode}"] = ->(stream, *) { stream.read(live: mode).to_a } }
  paths["producer"] = lambda do |stream, *|
    DurableStreams::Producer.open(stream: stream, producer_id: "p") { |producer| (producer << 1).flush }
  end
  paths["error_from_status"] = lambda do |_, status, headers|
    raise DurableStreams.error_from_status(status, headers: headers)
  end

  # The attributes of an error that are compared.
  def outcome
    yield
    nil
  rescue DurableStreams::DurableStreamError => e
    { class: e.class.name.split("::").last.to_sym, code: e.code, status: e.status, retryable: e.retryable?,
      outcome_unknown: e.outcome_unknown? }
  end

  def meaning(path, call, status, headers)
    unless path == "error_from_status"
      faults.on { |reply| reply.respond(status, "", **headers) }
      stream = @stream ||= fault_stream(retries: { max_retries: 0 })
    end
    outcome { call.call(stream, status, headers) }
  end

  paths.each do |path, call|
    table = statuses.to_h { |status| [[status, {}], named.fetch(status, :FetchError)] }
    table.delete([202, {}]) if path == "delete"
    by_header.each { |response, errors| table[response] = errors.fetch(path, errors[:any]) }

    it "is the same for #{path}" do
      expected = table.to_h do |(status, headers), error|
        unknown = may_be_stored.call(path, status)
        safe = !unknown || idempotent.include?(path)
        code = error && DurableStreams.const_get(error)::DEFAULTS[:code]
        [[status, headers], error && { class: error, code: code, status: status, outcome_unknown: unknown,
                                       retryable: retryable.include?(status) && safe }]
      end
      found = table.to_h { |(status, headers), _| [[status, headers], meaning(path, call, status, headers)] }
      expect(found.reject { |response, error| expected[response] == error }).to eq({})
      expect(found.keys).to eq(expected.keys)
    end
  end
end
