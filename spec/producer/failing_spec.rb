# frozen_string_literal: true

on_each_server DurableStreams::Producer, "after a failure", :producer do
  it "raises StreamClosedError with the final offset" do
    producer = direct(linger_ms: 60_000)
    producer.append!(1)
    tail = stream.close_stream.final_offset
    producer << 2 << 3
    error = failure { producer.flush }
    expect(error).to be_a(DurableStreams::StreamClosedError)
    expect(error).to have_attributes(final_offset: tail, undelivered: [2, 3])
  end

  it "raises StreamNotFoundError after a 404 and StreamGoneError after a 410" do
    missing = described_class.new(url: unique_url, producer_id: "writer")
    missing << 1
    expect(failure { missing.close }).to be_a(DurableStreams::StreamNotFoundError).and have_attributes(undelivered: [1])
    producer = proxied
    faults.next("POST", path) { |reply| reply.respond(410) }
    expect(failure { producer.append!(2) }).to be_a(DurableStreams::StreamGoneError)
  end

  it "raises the error class of each status that is not retried" do
    { 400 => DurableStreams::BadRequestError, 401 => DurableStreams::UnauthorizedError,
      403 => DurableStreams::ForbiddenError, 413 => DurableStreams::PayloadTooLargeError,
      418 => DurableStreams::FetchError }.each do |status, type|
      producer = proxied
      faults.next("POST", path) { |reply| reply.respond(status, "because") }
      error = failure { producer.append!(1) }
      expect(error).to be_an_instance_of(type).or be_a(type)
      expect(error).to have_attributes(status: status, undelivered: [1], message: /because/)
    end
  end

  it "raises ContentTypeMismatchError if the content type differs" do
    producer = described_class.new(url: stream.url, content_type: :text, producer_id: "writer")
    expect(failure { producer.append!("x") }).to be_a(DurableStreams::ContentTypeMismatchError)
  end

  it "raises ClosedError if its client is closed before all is sent" do
    client = DurableStreams::Client.new
    producer = described_class.new(url: stream.url, client: client, producer_id: "writer", linger_ms: 60_000)
    producer << 1
    client.close
    expect(failure { producer.flush }).to be_a(DurableStreams::ClosedError).and have_attributes(undelivered: [1])
  end

  it "raises SequenceGapError if the server has lost acknowledged messages" do
    producer = direct(linger_ms: 0)
    3.times { |i| producer.append!(i) }
    stream.delete
    DurableStreams::Stream.create(stream.url, content_type: :json)
    error = failure { producer.append!(3) }
    expect(error).to be_a(DurableStreams::SequenceGapError)
    expect(error).to have_attributes(expected_seq: 0, received_seq: 3, undelivered: [3])
  end

  { "a lost response" => :rst.to_proc, "a 502" => ->(reply) { reply.respond(502) } }.each do |name, script|
    it "does not know whether the stream is closed after #{name} to the request that closes it" do
      producer = proxied(retry_policy: quick(max_retries: 0))
      producer.append!(1)
      upstream = server_url
      faults.next("POST", path) { |reply| script.call(reply.forward(upstream)) }
      error = failure { producer.close_stream }
      expect(error).to have_attributes(outcome_unknown?: true, retryable?: false, undelivered: [])
      expect(error.message).to include("the outcome is unknown")
      expect(stream.head).to be_closed
    end
  end

  it "does not know whether the stream is closed if it gives up while the request that closes it is in flight" do
    producer = proxied
    producer.append!(1)
    block_append("go", applied: true)
    closing = Thread.new { failure { producer.close_stream } }
    faults.wait_until_waiting("go")
    errors = [failure { producer.close(timeout: 0) }, closing.value]
    expect(errors).to all(have_attributes(outcome_unknown?: true, undelivered: []))
    faults.open("go")
  end

  it "does not take a 204 that says nothing of the stream or the producer for an acknowledgement" do
    producer = proxied
    producer.append!(1)
    faults.next("POST", path) { |reply| reply.respond(204) }
    error = failure { producer.append!(2) }
    expect(error).to be_a(DurableStreams::FetchError)
    expect(error).to have_attributes(status: 204, outcome_unknown?: true, undelivered: [2])
    expect(stored).to eq([1])
  end

  describe "out of retries" do
    let(:producer) { proxied(linger_ms: 0, max_batch_items: 1, retry_policy: quick(max_retries: 2)) }

    before { producer.append!(0) }

    it "raises the error of the last response" do
      faults.on("POST", path) { |reply| reply.wait("appended").respond(503, "no room") }
      (1..3).each { |i| producer << i }
      faults.open("appended")
      error = failure { producer.flush }
      expect(error).to be_a(DurableStreams::FetchError)
      expect(error).to have_attributes(status: 503, undelivered: [1, 2, 3], message: /no room/)
    end

    it "raises RateLimitedError with the server's Retry-After" do
      faults.on("POST", path) { |reply| reply.retry_after(3_600) }
      expect(failure { producer.append!(1) }).to be_a(DurableStreams::RateLimitedError)
        .and have_attributes(retry_after: 3_600, undelivered: [1], outcome_unknown?: false)
    end

    it "raises ConnectionError if the server refuses connections" do
      faults.next("POST", path) { |reply| reply.wait("appended").rst }
      faults.refuse_connections
      producer << 1 << 2
      faults.open("appended")
      error = failure { producer.flush }
      expect(error).to be_a(DurableStreams::ConnectionError)
      expect(error.undelivered).to eq([1, 2])
    end

    it "sets outcome_unknown? if every response was lost" do
      faults.on("POST", path) { |reply| reply.forward(server_url).rst }
      error = failure { producer.append!(1) }
      expect(error).to be_a(DurableStreams::ConnectionError)
      expect(error).to have_attributes(undelivered: [1], outcome_unknown?: true)
      expect(stored).to eq([0, 1])
    end

    it "raises TimeoutError if no response arrives in time" do
      impatient = proxied(timeout: 0.05, retry_policy: quick(max_retries: 1))
      faults.on("POST", path, &:hang)
      expect(failure { impatient.append!(1) }).to be_a(DurableStreams::TimeoutError)
    end

    it "returns the undelivered data as they were passed" do
      faults.on("POST", path) { |reply| reply.wait("appended").respond(503) }
      passed = [{ sym: :bol }, [1, "é"], nil, 1.5, '{"text": 1}', Struct.new(:to_json).new('"own"')]
      passed.each { |data| producer << data }
      opening = Thread.new do
        Thread.pass until producer.pending > passed.size
        faults.open("appended")
      end
      expect(failure { producer.append!(passed.first) }.undelivered).to eq([*passed, passed.first])
      opening.join
    end
  end

  describe "with data that changed after the append" do
    it "returns changed data as the JSON to be sent, and other data as they were passed" do
      missing = described_class.new(url: unique_url, producer_id: "writer", linger_ms: 60_000)
      passed = [{ i: 0 }, ["é"], { same: true }, Struct.new(:name, :to_json).new("own", '"own"')]
      counter = passed.first
      3.times do |i|
        counter[:i] = i
        missing << counter
      end
      passed[1..].each { |data| missing << data }
      passed[1] << 2
      passed.last.to_json = nil
      error = failure { missing.flush }
      expect(error.undelivered).to eq(['{"i":0}', '{"i":1}', counter, '["é"]', { same: true }, '"own"'])
      expect([error.undelivered[2], error.undelivered[4]]).to match([equal(counter), equal(passed[2])])
      error.undelivered.each { |message| stream << message }
      expect(stored).to eq([{ "i" => 0 }, { "i" => 1 }, { "i" => 2 }, ["é"], { "same" => true }, "own"])
    end

    it "returns the same list every time" do
      missing = described_class.new(url: unique_url, producer_id: "writer", linger_ms: 60_000)
      missing << (passed = { i: 0 })
      first = failure { missing.flush }
      passed[:i] = 1
      expect(failure { missing << 1 }.undelivered).to equal(first.undelivered)
    end

    [IOError, NotImplementedError].each do |type|
      it "treats a to_json that raises #{type} as a change" do
        missing = described_class.new(url: unique_url, producer_id: "writer", linger_ms: 60_000)
        once = Class.new { define_method(:to_json) { |*| @asked ? raise(type) : (@asked = true).to_s } }.new
        missing << once
        expect(failure { missing.close }.undelivered).to eq(["true"])
      end
    end
  end

  describe "on a stream of bytes" do
    def stream_type
      "application/octet-stream"
    end

    it "returns Strings in their encodings" do
      producer = proxied(content_type: stream_type, linger_ms: 60_000, retry_policy: quick(max_retries: 0))
      faults.on("POST", path) { |reply| reply.respond(503) }
      passed = ["é", "é".b, "\xFF", "\xFF".b, "é".encode("ISO-8859-1"), "é".encode("UTF-16LE"), "a".b, "a"]
      passed.each { |data| producer << data.dup }
      undelivered = failure { producer.flush }.undelivered
      expect(undelivered).to eq(passed)
      expect(undelivered.first(6).map(&:encoding)).to eq(passed.first(6).map(&:encoding))
    end
  end

  it "raises in threads that wait for room" do
    producer = proxied(linger_ms: 0, max_batch_items: 1, max_buffered_bytes: 24)
    producer.append!(0)
    faults.next("POST", path) { |reply| reply.wait(:go).respond(404) }
    thread = Thread.new { failure { 100.times { producer << 1 } } }
    faults.wait_until_waiting(:go)
    Thread.pass until thread.stop?
    faults.open(:go)
    expect(thread.value).to be_a(DurableStreams::StreamNotFoundError)
  end

  it "waits in append for the outcomes of the other requests before it raises" do
    producer = proxied(linger_ms: 0, max_batch_items: 1)
    producer.append!(0)
    faults.next("POST", path) { |reply| reply.wait(:slow).respond(404) }
    faults.next("POST", path) { |reply| reply.respond(404) }
    producer << 1 << 2
    faults.wait_until_responded(4) # The first request was a HEAD.
    thread = Thread.new { failure { loop { producer << 3 } } }
    Thread.pass until thread.stop?
    faults.open(:slow)
    expect(thread.value.undelivered.first(2)).to eq([1, 2])
  end
end
