# frozen_string_literal: true

# `timeout` limits silence only: connecting, waiting for a response, and any gap between its bytes.
RSpec.describe "Timeouts", :faults do
  # Seconds. Longer than the gaps that a busy machine causes by itself.
  limit = 1.5

  let(:headers) { read_headers("9") }
  let(:once) { { max_retries: 0 } }

  it "end a read whose response does not arrive, or stops arriving" do
    silences = [
      lambda(&:hang), ->(reply) { reply.raw("HTTP/1.1 200 OK\r\n").hang },
      ->(reply) { reply.head(200, **headers).hang }, ->(reply) { reply.head(200, **headers).chunk("[1,").hang },
      ->(reply) { reply.respond(200, "[1,", length: 10, **headers).hang }
    ]
    hasty = fault_stream(timeout: 0.15, retries: once)
    silences.each do |script|
      faults.on(&script)
      took = timed { expect { hasty.read_json.to_a }.to raise_error(DurableStreams::TimeoutError, /0.15 s/) }
      expect(took).to be_between(0.15, AtOnce::SECONDS)
    end
  end

  it "count as one try: a read that timed out is retried" do
    faults.next { |reply| reply.head(200, **headers).chunk("[1,2").hang }
    faults.on { |reply| reply.read("[1,2,3]", next_offset: "9") }
    hasty = fault_stream(timeout: limit, retries: { max_retries: 1, initial_delay: 0.001 })
    expect(hasty.read_json.each.to_a).to eq([1, 2, 3])
  end

  it "do not end a download that makes progress" do
    body = "[#{(1..40).to_a.join(",")}]"
    faults.on { |reply| reply.head(200, **headers).pieces(10, every: 0.2).chunk(body).finish }
    stream = fault_stream(timeout: limit, retries: once)
    expect(timed { expect(stream.read_json.each.to_a).to eq((1..40).to_a) }).to be > limit
    expect(faults.requests.size).to eq(1)
  end

  it "end the body of a response whose headers are all that matters, although it goes on and on" do
    faults.on do |reply|
      reply.head(200, "stream-next-offset" => "7")
      400.times { reply.chunk("x").delay(0.3) }
    end
    took = timed { expect(fault_stream(timeout: limit).append(1).next_offset).to eq("7") }
    expect(took).to be_between(limit, limit + AtOnce::SECONDS)
  end

  it "do not end a read whose application is slower than the server" do
    body = "[#{(1..3).map { |n| n.to_s * 500_000 }.join(",")}]"
    faults.on { |reply| reply.pieces(100_000).read(body, next_offset: "9") }
    reader = fault_stream(timeout: limit, retries: once).read_json
    first = reader.next
    sleep(limit + 0.5) # The example is about time.
    expect([first, *reader].map { |item| item.to_s.size }).to eq([500_000] * 3)
  end

  it "do not end a long-poll or an event stream while the server has no data" do
    faults.on { |reply| reply.read("[]", next_offset: "1") }
    faults.on(nil, nil, query: { "live" => "long-poll" }) do |reply|
      reply.delay(limit + 0.5).read("[1]", next_offset: "2", closed: true)
    end
    faults.on(nil, nil, query: { "live" => "sse" }) do |reply|
      reply.sse.delay(limit + 0.5).data("[1]").control("2", closed: true).finish
    end
    stream = fault_stream(timeout: limit, retries: once)
    reading = %i[long_poll sse auto].map { |mode| in_thread { stream.read_json(live: mode).each.to_a } }
    expect(reading.map(&:value)).to eq([[1]] * 3)
  end

  it "end a long-poll whose body stops in the middle" do
    faults.next { |reply| reply.read("[]", next_offset: "1") }
    faults.on { |reply| reply.head(200, **headers).chunk("[1").hang }
    hasty = fault_stream(timeout: 0.15, retries: once)
    expect { hasty.read_json(live: :long_poll).each.to_a }.to raise_error(DurableStreams::TimeoutError)
  end
end
