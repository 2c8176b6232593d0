# frozen_string_literal: true

# `timeout` bounds silence: connecting, waiting for an answer, any gap between bytes of it; and nothing else.
RSpec.describe "Timeouts", :faults do
  let(:stream) { fault_stream(timeout: 0.15, retries: { max_retries: 0 }) }
  let(:headers) { read_headers("9") }

  it "end a read whose answer does not come, or stops coming" do
    silences = [
      lambda(&:hang), ->(reply) { reply.raw("HTTP/1.1 200 OK\r\n").hang },
      ->(reply) { reply.head(200, **headers).hang }, ->(reply) { reply.head(200, **headers).chunk("[1,").hang },
      ->(reply) { reply.respond(200, "[1,", length: 10, **headers).hang }
    ]
    silences.each do |script|
      faults.on(&script)
      took = timed { expect { stream.read_json.to_a }.to raise_error(DurableStreams::TimeoutError, /0.15 s/) }
      expect(took).to be_between(0.15, 1)
    end
  end

  it "are a try like any other: the next may go well" do
    faults.next { |reply| reply.head(200, **headers).chunk("[1,2").hang }
    faults.on { |reply| reply.read("[1,2,3]", next_offset: "9") }
    patient = fault_stream(timeout: 0.1, retries: { max_retries: 1, initial_delay: 0.001 })
    expect(patient.read_json.each.to_a).to eq([1, 2, 3])
  end

  it "do not cut a download that flows, however long it takes" do
    body = "[#{(1..40).to_a.join(",")}]"
    faults.on { |reply| reply.head(200, **headers).pieces(10, every: 0.03).chunk(body, size: 5).finish }
    expect(timed { expect(stream.read_json.each.to_a).to eq((1..40).to_a) }).to be > 0.3
    expect(faults.requests.size).to eq(1)
  end

  it "do not cut a reader that is slower than the server" do
    body = "[#{(1..3).map { |n| n.to_s * 500_000 }.join(",")}]"
    faults.on { |reply| reply.pieces(100_000).read(body, next_offset: "9") }
    sizes = stream.read_json.map { |item| sleep(0.2) && item.to_s.size } # Time itself is what this is about.
    expect(sizes).to eq([500_000] * 3)
  end

  it "do not cut a long-poll or an event stream that the server holds" do
    faults.on { |reply| reply.read("[]", next_offset: "1") }
    faults.on(nil, nil, query: { "live" => "long-poll" }) do |reply|
      reply.delay(0.4).read("[1]", next_offset: "2", closed: true)
    end
    faults.on(nil, nil, query: { "live" => "sse" }) do |reply|
      reply.sse.delay(0.4).data("[1]").control("2", closed: true).finish
    end
    %i[long_poll sse auto].each { |mode| expect(stream.read_json(live: mode).each.to_a).to eq([1]) }
  end

  it "cut the body of a long-poll that stops in the middle" do
    faults.next { |reply| reply.read("[]", next_offset: "1") }
    faults.on { |reply| reply.head(200, **headers).chunk("[1").hang }
    expect { stream.read_json(live: :long_poll).each.to_a }.to raise_error(DurableStreams::TimeoutError)
  end
end
