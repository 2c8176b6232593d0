# frozen_string_literal: true

# The error that each response status raises.
RSpec.describe "Statuses", :faults do
  permanent = {
    400 => [DurableStreams::BadRequestError, "BAD_REQUEST"], 401 => [DurableStreams::UnauthorizedError, "UNAUTHORIZED"],
    402 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 403 => [DurableStreams::ForbiddenError, "FORBIDDEN"],
    404 => [DurableStreams::StreamNotFoundError, "NOT_FOUND"], 405 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    408 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 410 => [DurableStreams::StreamGoneError, "GONE"],
    413 => [DurableStreams::PayloadTooLargeError, "PAYLOAD_TOO_LARGE"],
    422 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 501 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"]
  }.freeze
  temporary = {
    429 => [DurableStreams::RateLimitedError, "RATE_LIMITED"], 500 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    502 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"], 503 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"],
    504 => [DurableStreams::FetchError, "UNEXPECTED_STATUS"]
  }.freeze

  # Every operation that sends a request, by name.
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

      temporary.each do |status, (error, code)|
        # The server may have stored an append although it, or a gateway, responds with a 5xx.
        again = status == 429 || FaultHelpers::REQUESTS[name]&.repeated != false
        it "raises #{error.name} for #{status}, #{again ? "after the policy's retries" : "at once"}" do
          faults.on { |reply| reply.respond(status) }
          expect { call.call(fault_stream) }.to raise_error(error, /#{status}/) do |raised|
            expect(raised).to have_attributes(class: error, status: status, code: code, retryable?: again)
          end
          expect(faults.requests.size).to eq(again ? 3 : 1)
        end
      end
    end
  end

  it "raise in exists? too, unless the stream does not exist" do
    (permanent.keys + temporary.keys).each do |status|
      faults.on("HEAD") { |reply| reply.respond(status) }
      next expect(fault_stream).not_to be_exists if [404, 410].include?(status)

      expect { fault_stream.exists? }.to raise_error(DurableStreams::DurableStreamError, /#{status}/)
    end
  end

  # A status of success without the protocol's headers. It may come from the server or from an intermediary.
  describe "of success that are not the protocol's" do
    def unknown_outcome(message)
      raise_error(DurableStreams::FetchError, message) do |error|
        expect(error).to have_attributes(outcome_unknown?: true, retryable?: false)
      end
    end

    FaultHelpers::REQUESTS.select { |_, kind| kind.verb == "POST" }.each do |name, kind|
      [200, 204].each do |status|
        it "leave the outcome of #{name} unknown: #{status} without Stream-Next-Offset" do
          faults.on { |reply| reply.respond(status) }
          expect { kind.send_on(fault_stream) }.to unknown_outcome(/has no Stream-Next-Offset.*outcome is unknown/)
          expect(faults.requests.size).to eq(1)
        end
      end
    end

    FaultHelpers::REQUESTS.each do |name, kind|
      next if name == "head"

      it "leave the outcome of #{name} unknown: 206" do
        faults.on { |reply| reply.respond(206, **FaultHelpers::OFFSET) }
        expect { kind.send_on(fault_stream) }.to unknown_outcome(/206.*outcome is unknown/)
        expect(faults.requests.size).to eq(1)
      end
    end

    it "leave the outcome of create with a body unknown: 206" do
      faults.on { |reply| reply.respond(206) }
      expect { fault_stream.create(body: 1) }.to unknown_outcome(/206/)
    end

    it "leave the outcome of appends that share a request unknown, for each of them" do
      stream = fault_stream
      faults.next { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
      faults.on { |reply| reply.respond(204) }
      first = in_thread { stream.append(0) }
      faults.wait_until_waiting(:go)
      rest = [1, 2].map { |n| in_thread { stream.append(n) }.tap { |thread| Thread.pass until thread.stop? } }
      faults.open(:go)
      expect(first.value.next_offset).to eq("7")
      expect(rest.map(&:value)).to all(have_attributes(class: DurableStreams::FetchError, outcome_unknown?: true))
      expect(faults.requests.last.body).to eq("[1,2]")
    end

    it "leave the outcome of a producer's batch unknown: 206" do
      faults.on { |reply| reply.respond(206, **FaultHelpers::OFFSET) }
      producer = DurableStreams::Producer.new(stream: fault_stream, producer_id: "p")
      expect { producer.append!(1) }.to raise_error(DurableStreams::ProducerError) do |error|
        expect(error).to have_attributes(undelivered: [1], outcome_unknown?: true)
      end
    end

    it "do not leave the outcome unknown if the server says that the stream was already closed" do
      faults.on { |reply| reply.respond(409, "", "stream-closed" => "true") }
      expect { fault_stream.close_stream }.to raise_error(DurableStreams::FetchError) do |error|
        expect(error).not_to be_outcome_unknown
      end
    end
  end

  it "raises a different error for each kind of 409" do
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

  it "does not guess the reason of a 409 whose headers are lost, because a proxy has replaced it by a web page" do
    page = "<html><title>409 Conflict</title></html>"
    faults.on { |reply| reply.respond(409, page, "content-type" => "text/html; charset=iso-8859-1") }
    [->(s) { s.append(1) }, ->(s) { s.append(1, seq: "1") }, ->(s) { s.close_stream(data: 1) }].each do |request|
      expect { request.call(fault_stream) }.to raise_error(DurableStreams::FetchError, /409.*409 Conflict/) { |error|
        expect(error.message).to include("a proxy has replaced the server's response")
      }
    end
  end

  it "says what happened and what to do if the offset is beyond the end of the stream" do
    body = { error: { code: "OFFSET_OUT_OF_RANGE", message: "offset 9999 is beyond the tail 18" } }.to_json
    faults.on("GET") { |reply| reply.respond(416, body, "stream-next-offset" => "18") }
    expect { fault_stream.read_json(offset: "9999").first }.to raise_error(DurableStreams::FetchError) { |error|
      expect(error).to have_attributes(status: 416, headers: include("stream-next-offset" => "18"), retryable?: false)
      expect(error.message).to match(/beyond the end of the stream.*read from another offset.*416.*beyond the tail 18/)
    }
  end

  it "puts an excerpt of the response into the error's message, and the whole into body" do
    faults.on { |reply| reply.respond(400, "offset is malformed") }
    expect { fault_stream.head }.to raise_error(%r{\Ahead http://.*/s: bad request \(400\)\z})
    expect { fault_stream.read.first }.to raise_error(/offset is malformed/) do |error|
      expect(error.body).to eq("offset is malformed")
    end
  end

  it "retries the statuses that the policy names, and no others" do
    retries = FaultHelpers::QUICK.merge(retryable_statuses: [408])
    faults.next { |reply| reply.respond(408) }
    faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    expect(fault_stream(retries: retries).head.next_offset).to eq("7")
    faults.on { |reply| reply.respond(503) }
    expect { fault_stream(retries: retries).head }.to raise_error(DurableStreams::FetchError)
    expect(faults.requests.size).to eq(3)
  end

  it "marks an error as retryable only if the policy names its status" do
    retries = FaultHelpers::QUICK.merge(max_retries: 0, retryable_statuses: [404, 408])
    retryable = [404, 408, 503].map do |status|
      faults.on { |reply| reply.respond(status) }
      calls = [:head, ->(stream) { stream.append(1) }, ->(stream) { stream.read.first }].map(&:to_proc)
      calls.map do |call|
        call.call(fault_stream(retries: retries))
      rescue DurableStreams::DurableStreamError => e
        e.retryable?
      end
    end
    expect(retryable).to eq([[true] * 3, [true] * 3, [false] * 3])
  end

  it "waits for the seconds in Retry-After" do
    faults.next { |reply| reply.retry_after(1) }
    faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    stream = fault_stream(retries: { max_retries: 1, initial_delay: 0.001, max_delay: 5 })
    expect(timed { stream.head }).to be_between(1, 1 + AtOnce::SECONDS)
  end

  it "waits until the date in Retry-After" do
    date = Time.at(Time.now.to_i + 2) # HTTP dates have whole seconds.
    faults.next { |reply| reply.retry_after(date) }
    faults.on { |reply| reply.read("[1]", next_offset: "1") }
    stream = fault_stream(retries: { max_retries: 1, initial_delay: 0.001, max_delay: 5 })
    stream.read.first
    expect(Time.now).to be_between(date, date + AtOnce::SECONDS)
  end
end
