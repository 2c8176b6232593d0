# frozen_string_literal: true

# The events of requests, appends and reads on a real server: all keys and values. Failures: spec/faults.
on_each_server "Events" do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:path) { unique_path("events") }
  let(:url) { server_url + path }
  let(:stream) { client.create(path, content_type: :json) }

  after { client.close }

  def request(operation, method, status, sent: 0, received: 0, attempt: 1)
    { operation: operation, method: method, url: url, status: status, attempt: attempt, bytes_sent: sent,
      bytes_received: received }
  end

  # The request events so far, with only these keys of the payload.
  def requests(seen, *keys)
    seen.named("request").map { |event| event.payload.slice(*keys) }
  end

  it "of every operation's request name the operation, the method and the status" do
    seen = record_events("request.durable_streams")
    stream.append({ a: 1 })
    stream.head
    stream.close_stream(data: [2])
    stream.read_json.to_a
    stream.delete
    expect(stream.exists?).to be(false)
    DurableStreams::Stream.new(url, context: client.context).append(1) rescue nil # rubocop:disable Style/RescueModifier
    expect(requests(seen, :operation, :method).map(&:values)).to eq(
      [[:create, "PUT"], [:append, "POST"], [:head, "HEAD"], [:close, "POST"], [:read, "GET"], [:delete, "DELETE"],
       [:head, "HEAD"], [:append, "HEAD"]]
    )
    expect(requests(seen, :status).flat_map(&:values)).to match([be_between(200, 204)] * 6 + [404, 404])
    expect(seen.map(&:error)).to all(be_nil)
  end

  it "of an append have its request, bytes and next offset" do
    stream
    seen = record_events
    before = Time.now
    result = stream.append({ a: 1 })
    status = seen.first.payload[:status]
    expect([200, 204]).to include(status)
    expect(seen.map(&:payload)).to eq(
      [request(:append, "POST", status, sent: 9),
       { url: url, bytes: 7, next_offset: result.next_offset, together: 1 }]
    )
    expect(seen.names).to eq(%w[request append])
    expect(seen.threads).to all(equal(Thread.current))
    expect(seen.map(&:error)).to eq([nil, nil])
    request, append = seen.to_a
    expect(before - 1..request.time).to cover(append.time)
    expect(append.duration).to be_between(request.duration, Time.now - before + 1)
  end

  it "of an append begin with the request for the content type" do
    stream
    seen = record_events
    DurableStreams::Stream.new(url, context: client.context).append("[1,2]")
    expect(requests(seen, :operation, :method).map(&:values)).to eq([[:append, "HEAD"], [:append, "POST"]])
    expect(seen.named("append").map(&:payload)).to match([include(bytes: 5, together: 1)])
    expect(seen.to_a.last.duration).to be >= seen.first.duration
  end

  it "say how many appends shared the request" do
    stream.append(0)
    seen = record_events
    gate = Queue.new
    threads = Array.new(8) do |number|
      Thread.new do
        gate.pop
        50.times { stream.append(number) }
      end
    end
    gate.close
    threads.each(&:join)
    appends, requests = %w[append request].map { |name| seen.named(name) }
    expect(appends.size).to eq(400)
    # Each request counts once for every append in it.
    expect(appends.sum { |event| 1.0 / event.payload[:together] }).to be_within(0.001).of(requests.size)
    expect(requests.sum { |event| event.payload[:bytes_sent] }).to eq(400 + requests.size * 2 + 400 - requests.size)
    expect(stream.read_json.count).to eq(401)
  end

  it "of appends with exactly_once say the same" do
    once = client.stream(stream.url, content_type: :json, exactly_once: true)
    seen = record_events
    result = once.append("12")
    expect(seen.map(&:payload)).to match(
      [request(:append, "POST", 200, sent: 4),
       { url: url, bytes: 2, next_offset: result.next_offset, together: 1 }]
    )
  end

  it "of a failed append have its exception" do
    stream.close_stream
    seen = record_events
    error = begin
      stream.append(1)
    rescue DurableStreams::StreamClosedError => e
      e
    end
    expect(seen.names).to eq(%w[request append])
    expect(seen.to_a.last).to have_attributes(
      error: equal(error), payload: { url: url, bytes: 1, next_offset: nil, together: 1 }
    )
    expect(seen.first.payload).to include(status: 409, attempt: 1)
  end

  it "of an append that cannot be sent have no request" do
    stream
    seen = record_events
    expect { stream.append("{") }.to raise_error(DurableStreams::ParseError)
    expect { stream.append(:a) }.to raise_error(ArgumentError)
    client.close
    expect { stream.append(1) }.to raise_error(DurableStreams::ClosedError)
    nothing = { url: url, next_offset: nil, together: nil }
    expect(seen.map(&:payload)).to eq([{ bytes: 1, **nothing }, { bytes: nil, **nothing }, { bytes: 1, **nothing }])
    expect(seen.map { |event| event.error.class })
      .to eq([DurableStreams::ParseError, ArgumentError, DurableStreams::ClosedError])
  end

  describe "of a read" do
    before { 3.times { |number| stream.append(number) } }

    # Payloads of batches of a catch-up read.
    def read(next_offset, **count)
      { url: url, mode: :catch_up, **count, next_offset: next_offset, up_to_date: true }
    end

    it "have its batch" do
      seen = record_events
      batch = stream.read.next
      received = seen.first.payload[:bytes_received]
      expect(received).to be_between(7, 20)
      expect(seen.map(&:payload)).to eq([request(:read, "GET", 200, received: received), read(batch.offset, items: 3)])
      expect(seen.names).to eq(%w[request read])
      expect(seen.threads).to all(equal(Thread.current))
    end

    it "count the whole batch when items are read one by one" do
      seen = record_events("read.durable_streams")
      reader = stream.read_json
      expect(reader.first(2)).to eq([0, 1])
      expect(reader.to_a).to eq([2])
      expect(seen.map(&:payload).first).to eq(read(reader.next_offset, items: 3))
    end

    it "count bytes" do
      seen = record_events("read.durable_streams")
      body = (reader = stream.read_bytes).body
      expect(seen.map(&:payload)).to eq([read(reader.next_offset, bytes: body.bytesize)])
    end

    it "of small reads, which their own thread carries out, are the same" do
      stream.read_json.to_a
      seen = record_events
      reader = stream.read_json
      2.times { reader.to_a }
      expect(seen.names).to eq(%w[request read request read])
      expect(seen.threads).to all(equal(Thread.current))
    end

    it "name the mode of a live read's request" do
      seen = record_events("read.durable_streams")
      stream.read_json(live: :long_poll) do |reader|
        3.times { reader.next }
        stream.append(3)
        expect(reader.next).to eq(3)
      end
      stream.read(live: :sse, &:next)
      expect(seen.map { |event| event.payload[:mode] }.tally).to include(catch_up: 1, long_poll: be >= 1, sse: 1)
      expect(seen.map(&:payload)).to all(include(up_to_date: true, items: Integer))
    end

    it "come while a live read waits for data" do
      seen = record_events("read.durable_streams")
      reader = stream.read(live: :long_poll)
      reader.next
      expect(reader.next.items).to eq([])
      expect(seen.map { |event| event.payload.values_at(:mode, :items) }).to eq([[:catch_up, 3], [:long_poll, 0]])
      reader.close
    end
  end

  it "show no credentials" do
    secret = "hidden"
    with_secret = "#{stream.url.sub("://", "://user:#{secret}@")}?token=#{secret}"
    seen = record_events
    handle = client.stream(with_secret, content_type: :json, params: { "key" => secret },
                                        headers: { "Authorization" => secret })
    handle.append(1)
    handle.read_json.to_a
    expect(seen.names).to eq(%w[request append request read])
    expect(seen.map(&:inspect).join).not_to include(secret)
    expect(seen.map { |event| event.payload[:url] }.uniq).to match([a_string_starting_with(url)])
  end

  it "do not change what a call returns if a subscriber raises" do
    allow(DurableStreams).to receive(:logger).and_return(double(error: nil))
    subscribe { raise "mine" }
    expect(stream.append(1).next_offset).to eq(stream.head.next_offset)
    expect(stream.read_json.to_a).to eq([1])
  end

  it "let a subscriber use the library" do
    other = client.create(unique_path("log"), content_type: :json)
    subscribe("append.durable_streams") { |event| other.append({ bytes: event.payload[:bytes] }) }
    subscribe("request.durable_streams") { |event| other.append([event.payload[:operation]]) }
    stream.append("12")
    stream.append("123")
    expect(other.read_json.to_a).to eq([["create"], ["append"], { "bytes" => 2 }, ["append"], { "bytes" => 3 }])
  end

  it "of appends that share a request let a subscriber append to the same stream" do
    stream
    subscribe("request.durable_streams") { |event| stream.append({ sub: 1 }) if event.payload[:operation] == :append }
    Array.new(4) { |number| Thread.new { 10.times { stream.append(number) } } }.each(&:join)
    items = stream.read_json.to_a
    expect(items.grep(Integer).tally.values).to eq([10] * 4)
    expect(items.grep(Hash).size).to be >= 4
  end
end
