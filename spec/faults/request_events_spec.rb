# frozen_string_literal: true

require "timeout"

# The events of requests that fail, are sent again, redirected or given up.
RSpec.describe "Events of requests", :faults do
  let(:url) { faults.url("/s") }
  let(:stream) { fault_stream }

  def payload(operation, method, status, **rest)
    { operation: operation, method: method, url: url, status: status, attempt: 1, bytes_sent: 0, bytes_received: 0,
      **rest }
  end

  def appended(reply)
    reply.respond(204, "", **FaultHelpers::OFFSET)
  end

  it "count the tries, and report each retry before its pause" do
    faults.on("PUT", times: 2) { |reply| reply.respond(503, "later") }
    faults.on("PUT") { |reply| reply.respond(201, "", **FaultHelpers::OFFSET) }
    seen = record_events
    stream.create
    expect(seen.names).to eq(%w[request retry request retry request])
    expect(seen.named("request").map(&:payload)).to eq(
      [payload(:create, "PUT", 503, bytes_received: 5), payload(:create, "PUT", 503, attempt: 2, bytes_received: 5),
       payload(:create, "PUT", 201, attempt: 3)]
    )
    retries = seen.named("retry")
    expect(retries.map(&:payload)).to match(
      [1, 2].map do |attempt|
        { operation: :create, url: url, attempt: attempt, delay: be_between(0.001, 0.05),
          reason: "server error (503): later" }
      end
    )
    expect(retries).to all(have_attributes(error: nil, duration: be_between(0, 0.1)))
    first, second = seen.named("request").first(2)
    expect(second.time - (first.time + first.duration)).to be >= retries.first.payload[:delay] - 0.001
    expect(seen.threads).to all(equal(Thread.current))
  end

  it "have the error of a try without a response" do
    faults.on("POST", &:rst)
    seen = record_events
    error = begin
      stream.append({ "a" => 1 })
    rescue DurableStreams::ConnectionError => e
      e
    end
    request, append = seen.to_a
    expect(request.payload).to eq(payload(:append, "POST", nil, bytes_sent: 9))
    expect(request.error).to be_a(DurableStreams::ConnectionError)
    expect(append.payload).to eq({ url: url, bytes: 7, next_offset: nil, together: 1 })
    expect(append.error).to equal(error)
  end

  it "say that nothing was sent if the connection is refused" do
    faults.refuse_connections
    seen = record_events
    expect { fault_stream(retries: { max_retries: 1, initial_delay: 0.001 }).append(1) }
      .to raise_error(DurableStreams::ConnectionError)
    expect(seen.names).to eq(%w[request retry request append])
    expect(seen.named("request").map(&:payload))
      .to eq([payload(:append, "POST", nil), payload(:append, "POST", nil, attempt: 2)])
    expect(seen.named("request").map(&:error)).to all(be_a(DurableStreams::ConnectionError))
    expect(seen.named("retry").first.payload[:reason]).to match(/\Acould not connect: /)
    expect(seen.to_a.last.error.attempts).to eq(2)
  end

  it "have the timeout of a response, or of the rest of its body" do
    faults.next("HEAD") { |reply| reply.wait("never") }
    faults.on("GET") { |reply| reply.head(200, **FaultHelpers::OFFSET).chunk("[1,").wait("never") }
    seen = record_events("request.durable_streams")
    stream = fault_stream(timeout: 0.2, retries: { max_retries: 0 })
    expect { stream.head }.to raise_error(DurableStreams::TimeoutError)
    expect { stream.read_json.to_a }.to raise_error(DurableStreams::TimeoutError)
    expect(seen.map(&:payload)).to eq([payload(:head, "HEAD", nil), payload(:read, "GET", 200, bytes_received: 3)])
    expect(seen.map(&:error)).to all(be_a(DurableStreams::TimeoutError))
    expect(seen.map(&:duration)).to all(be >= 0.2)
    expect(seen.threads).to all(equal(Thread.current))
  end

  it "have the error of a body that breaks off" do
    faults.next("GET") { |reply| reply.head(200, **FaultHelpers::OFFSET).chunk("[1,2,").rst }
    faults.on("GET") { |reply| reply.read("[1,2,3]", next_offset: "7") }
    seen = record_events(/request|read/)
    expect(stream.read_json.to_a).to eq([1, 2, 3])
    broken, whole = seen.named("request")
    expect(broken).to have_attributes(payload: payload(:read, "GET", 200, bytes_received: 5),
                                      error: be_a(DurableStreams::ConnectionError))
    expect(whole).to have_attributes(error: nil, payload: payload(:read, "GET", 200, bytes_received: 7, attempt: 2))
    expect(seen.named("read").map { |event| event.payload[:items] }).to eq([3])
  end

  it "count the tries of a read since its last success" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1", up_to_date: false) }
    faults.on("GET", times: 2) { |reply| reply.respond(500) }
    faults.on("GET") { |reply| reply.read("[2]", next_offset: "2") }
    seen = record_events(/request|retry/)
    expect(stream.read_json.to_a).to eq([1, 2])
    expect(seen.named("request").map { |event| event.payload.values_at(:status, :attempt) })
      .to eq([[200, 1], [500, 1], [500, 2], [200, 3]])
    expect(seen.names).to eq(%w[request request retry request retry request])
    expect(seen.named("retry").first.payload)
      .to match({ operation: :read, url: url, attempt: 1, delay: be_between(0.001, 0.05),
                  reason: "server error (500)" })
  end

  it "are one for each URL of a redirected request" do
    faults.on("POST", "/s") { |reply| reply.respond(307, "", "location" => "/t?token=secret") }
    faults.on("POST", "/t") { |reply| appended(reply) }
    seen = record_events("request.durable_streams")
    stream.append(1)
    expect(seen.map(&:payload)).to eq(
      [payload(:append, "POST", 307, bytes_sent: 3),
       payload(:append, "POST", 204, bytes_sent: 3).merge(url: faults.url("/t?…"))]
    )
  end

  it "come while the call waits before its next try" do
    faults.on("PUT") { |reply| reply.respond(503, "", "retry-after" => "600") }
    seen = record_events
    creating = in_thread { fault_stream(retries: { max_delay: 3600 }).create }
    seen.wait_for(2)
    expect(seen.names).to eq(%w[request retry])
    expect(seen.to_a.last.payload[:delay]).to be >= 600
    expect(seen.threads).to all(equal(creating))
    expect(creating).to be_alive
  end

  it "come while an append waits that shares its request" do
    faults.next("POST") { |reply| appended(reply.wait("first")) }
    faults.on("POST") { |reply| reply.respond(429, "", "retry-after" => "600") }
    stream = fault_stream(retries: { max_delay: 3600 })
    seen = record_events("retry.durable_streams")
    leading = in_thread { stream.append(0) }
    faults.wait_until_waiting("first")
    following = Array.new(2) { |number| in_thread { stream.append(number) } }
    Thread.pass until following.all?(&:stop?)
    faults.release("first")
    event, = seen.wait_for
    expect(leading.value.next_offset).to eq("7")
    expect(event.payload).to match({ operation: :append, url: url, attempt: 1, delay: be >= 600,
                                     reason: "rate limited (429)" })
    expect(following).to include(seen.threads.first)
  end

  it "of an interrupted call come on the callback thread, without a status" do
    faults.on("POST") { |reply| reply.wait("never") }
    seen = record_events
    expect { Timeout.timeout(0.3) { stream.append(1) } }.to raise_error(Timeout::Error)
    request, = seen.wait_for { |event| event.name.start_with?("request") }
    expect(request).to have_attributes(payload: payload(:append, "POST", nil), error: nil)
    expect(seen.threads[seen.names.index("request")].name).to eq("durable_streams callbacks")
    append = seen.named("append").first
    # Some versions of timeout throw.
    expect(append).to have_attributes(error: be_nil.or(be_a(Exception)),
                                      payload: { url: url, bytes: 1, next_offset: nil, together: nil })
    expect(seen.threads[seen.names.index("append")]).to equal(Thread.current)
  end

  it "of a reader that gives its request up come on the callback thread, without a status" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET") { |reply| reply.wait("never") }
    seen = record_events("request.durable_streams")
    stream.read_json(live: :long_poll) do |reader|
      reader.next
      faults.wait_until_waiting("never")
    end
    event, = seen.wait_for { |one| one.payload[:status].nil? }
    expect(event).to have_attributes(error: nil, payload: payload(:read, "GET", nil))
    expect(seen.threads[seen.to_a.index(event)].name).to eq("durable_streams callbacks")
  end

  it "of a request whose value callable raises are none: it was not sent" do
    seen = record_events
    expect { fault_stream(headers: { "x" => -> { raise KeyError } }).append(1) }.to raise_error(KeyError)
    expect(seen.names).to eq(%w[append])
    expect(seen.first.error).to be_a(KeyError)
  end

  it "of appends with value callables come on the thread of each append" do
    faults.on("POST") { |reply| appended(reply) }
    stream = fault_stream(headers: { "x" => -> { Thread.current.object_id.to_s } })
    seen = record_events("request.durable_streams")
    threads = Array.new(4) { |number| in_thread { stream.append(number) } }
    threads.each(&:join)
    expect(seen.threads.map(&:object_id).map(&:to_s))
      .to match_array(faults.requests.map { |request| request.header("x") })
  end

  it "let an interrupt in a subscriber end the call" do
    faults.on("POST") { |reply| appended(reply) }
    gate = Queue.new
    subscribe("request.durable_streams") { gate.pop }
    expect { Timeout.timeout(0.3) { stream.append(1) } }.to raise_error(Timeout::Error)
    appending = in_thread { stream.append(1) }
    faults.wait_for_request(2)
    Thread.pass until appending.stop?
    expect(appending.kill.join(AtOnce::SECONDS)).to equal(appending)
    gate.close
    expect(stream.append(1).next_offset).to eq("7")
  end

  it "that nobody takes are limited, and the log says how many were dropped" do
    lines = Queue.new
    allow(DurableStreams).to receive(:logger).and_return(double(info: nil).tap do |logger|
      allow(logger).to receive(:warn) { |line| lines << line }
    end)
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET") { |reply| reply.respond(503) }
    seen = record_events
    quick = { max_retries: 10_000, initial_delay: 0.0001, max_delay: 0.001 }
    reader = fault_stream(retries: quick).read(live: :long_poll)
    reader.next
    # A request and a retry each.
    faults.wait_for_request(700)
    reader.close
    line = lines.pop until line&.include?("dropped")
    expect(line).to match(/\Adurable_streams: \d+ events were dropped, because more than 1000 waited/)
    expect(seen.count).to be <= 1_010
  end
end
