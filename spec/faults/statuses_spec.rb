# frozen_string_literal: true

# What each status of an answer becomes.
RSpec.describe "Statuses", :faults do
  permanent = {
    400 => [DurableStreams::BadRequestError, "BAD_REQUEST"], 401 => [DurableStreams::UnauthorizedError, "UNAUTHORIZED"],
    402 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 403 => [DurableStreams::ForbiddenError, "FORBIDDEN"],
    404 => [DurableStreams::StreamNotFoundError, "NOT_FOUND"], 405 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    408 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 410 => [DurableStreams::StreamGoneError, "GONE"],
    413 => [DurableStreams::PayloadTooLargeError, "PAYLOAD_TOO_LARGE"],
    422 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 501 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"]
  }.freeze
  passing = {
    429 => [DurableStreams::RateLimitedError, "RATE_LIMITED"], 500 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    502 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 503 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    504 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"]
  }.freeze

  # Every way to send something: its name => what does it on a stream.
  calls = FaultHelpers::REQUESTS.transform_values { |kind| ->(stream) { kind.send_on(stream) } }
  FaultReads::MODES.each { |mode| calls["read live: :#{mode}"] = ->(stream) { stream.read(live: mode).to_a } }

  calls.each do |name, call|
    describe name do
      permanent.each do |status, (error, code)|
        it "raises #{error.name} for #{status}, at once" do
          faults.on { |reply| reply.respond(status, "because", "x-why" => "because") }
          expect { call.call(fault_stream) }.to raise_error(error, /#{status}/) do |raised|
            expect(raised).to have_attributes(class: error, status: status, status_code: status, code: code,
                                              url: faults.url("/s"), retryable?: false)
            expect(raised.headers).to include("x-why" => "because")
          end
          expect(faults.requests.size).to eq(1)
        end
      end

      passing.each do |status, (error, code)|
        it "raises #{error.name} for #{status}, after the policy's retries" do
          faults.on { |reply| reply.respond(status) }
          expect { call.call(fault_stream) }.to raise_error(error, /#{status}/) do |raised|
            expect(raised).to have_attributes(class: error, status: status, code: code, retryable?: true)
          end
          expect(faults.requests.size).to eq(3)
        end
      end
    end
  end

  it "tells the 409s apart" do
    conflicts = {
      {} => { ->(s) { s.create } => DurableStreams::StreamExistsError,
              ->(s) { s.append(1) } => DurableStreams::ContentTypeMismatchError,
              ->(s) { s.append(1, seq: "1") } => DurableStreams::SeqConflictError },
      { "stream-closed" => "true", "stream-next-offset" => "9" } => {
        ->(s) { s.append(1) } => DurableStreams::StreamClosedError,
        ->(s) { s.append(1, seq: "1") } => DurableStreams::StreamClosedError,
        ->(s) { s.close_stream(data: 1) } => DurableStreams::StreamClosedError
      }
    }
    conflicts.each do |headers, errors|
      faults.on { |reply| reply.respond(409, "", **headers) }
      errors.each do |request, error|
        expect { request.call(fault_stream) }.to raise_error(error) { |raised| expect(raised.status).to eq(409) }
      end
    end
    final = have_attributes(class: DurableStreams::StreamClosedError, final_offset: "9")
    expect { fault_stream.append(1) }.to raise_error(final)
    expect(fault_stream.close_stream.final_offset).to eq("9")
  end

  it "says what the server said, in short, and keeps all of it" do
    faults.on { |reply| reply.respond(400, "offset is malformed") }
    expect { fault_stream.head }.to raise_error(%r{\Ahead http://.*/s: bad request \(400\)\z})
    expect { fault_stream.read.first }.to raise_error(/offset is malformed/) do |error|
      expect(error.body).to eq("offset is malformed")
    end
  end

  it "retries what the policy names, and only that" do
    retries = FaultHelpers::QUICK.merge(retryable_statuses: [408])
    faults.next { |reply| reply.respond(408) }
    faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    expect(fault_stream(retries: retries).head.next_offset).to eq("7")
    faults.on { |reply| reply.respond(503) }
    expect { fault_stream(retries: retries).head }.to raise_error(DurableStreams::FetchError)
    expect(faults.requests.size).to eq(3)
  end

  it "says that an error may pass where the policy names its status, and only there" do
    retries = FaultHelpers::QUICK.merge(max_retries: 0, retryable_statuses: [404, 408])
    passing = [404, 408, 503].map do |status|
      faults.on { |reply| reply.respond(status) }
      calls = [:head, ->(stream) { stream.append(1) }, ->(stream) { stream.read.first }].map(&:to_proc)
      calls.map do |call|
        call.call(fault_stream(retries: retries))
      rescue DurableStreams::DurableStreamError => e
        e.retryable?
      end
    end
    expect(passing).to eq([[true] * 3, [true] * 3, [false] * 3])
  end

  it "waits for as long as Retry-After asks" do
    faults.next { |reply| reply.retry_after(1) }
    faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    stream = fault_stream(retries: { max_retries: 1, initial_delay: 0.001, max_delay: 5 })
    expect(timed { stream.head }).to be_between(1, 1 + AtOnce::SECONDS)
  end

  it "waits until the date that Retry-After names" do
    date = Time.at(Time.now.to_i + 2) # Dates have whole seconds.
    faults.next { |reply| reply.retry_after(date) }
    faults.on { |reply| reply.read("[1]", next_offset: "1") }
    stream = fault_stream(retries: { max_retries: 1, initial_delay: 0.001, max_delay: 5 })
    stream.read.first
    expect(Time.now).to be_between(date, date + AtOnce::SECONDS)
  end
end
