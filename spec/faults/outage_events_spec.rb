# frozen_string_literal: true

# The events of a live read that loses its connection and has it back.
RSpec.describe "Events of live reads", :faults do
  let(:url) { faults.url("/s") }
  let(:outages) { /connect\./ }
  # More retries than any example needs.
  let(:stream) { fault_stream(retries: { max_retries: 1_000, initial_delay: 0.001, max_delay: 3_600 }) }

  def outage(mode, offset, reason, attempts)
    { url: url, mode: mode, offset: offset, reason: reason, attempts: attempts }
  end

  # A thread that reads on, and puts the items into the queue.
  def tail(live, items = Queue.new)
    [in_thread { stream.read_json(live: live) { |reader| reader.each { |item| items << item } } }, items]
  end

  it "report the loss once, each retry, and the end" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET", times: 3) { |reply| reply.respond(503) }
    faults.on("GET") { |reply| reply.read("[2]", next_offset: "2", closed: true) }
    seen = record_events(/connect|retry/)
    expect(stream.read_json(live: :long_poll).to_a).to eq([1, 2])
    expect(seen.names).to eq(%w[disconnect retry retry retry reconnect])
    disconnect, *retries, reconnect = seen.to_a
    reason = "server error (503)"
    expect(disconnect).to have_attributes(payload: outage(:long_poll, "1", reason, 1), duration: 0.0, error: nil)
    expect(retries.map(&:payload))
      .to match((1..3).map { |n| { operation: :read, url: url, attempt: n, delay: be > 0, reason: reason } })
    expect(reconnect).to have_attributes(payload: outage(:long_poll, "1", reason, 3), error: nil)
    # An outage of a long-poll begins when the first try fails.
    expect(reconnect.time).to be_within(0.1).of(disconnect.time)
    expect(reconnect.duration).to be >= retries.sum { |event| event.payload[:delay] } - 0.01
    expect(seen.threads).to all(equal(Thread.current))
  end

  it "do not call a first connection that fails a loss" do
    faults.on("GET", times: 2, &:rst)
    faults.on("GET") { |reply| reply.read("[1]", next_offset: "1", closed: true) }
    seen = record_events(/connect|retry/)
    expect(stream.read_json(live: :long_poll).to_a).to eq([1])
    expect(seen.names).to eq(%w[retry retry])
  end

  it "do not call the failure of a read without live mode a loss" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1", up_to_date: false) }
    faults.next("GET") { |reply| reply.respond(503) }
    faults.on("GET") { |reply| reply.read("[2]", next_offset: "2") }
    seen = record_events(/connect|retry/)
    expect(stream.read_json.to_a).to eq([1, 2])
    expect(seen.names).to eq(%w[retry])
  end

  it "do not call the end of an SSE connection a loss" do
    faults.next("GET") { |reply| reply.sse.data("[1]").control("1").finish }
    faults.next("GET") { |reply| reply.sse.data("[2]").control("2", closed: true).finish }
    seen = record_events(/connect|retry/)
    expect(stream.read_json(live: :sse).to_a).to eq([1, 2])
    expect(seen.names).to eq([])
  end

  it "name SSE, and come while the read waits for its next try and for data" do
    faults.next("GET") { |reply| reply.sse.data("[1]").control("1").wait("broken").rst }
    faults.next("GET") { |reply| reply.retry_after(600, 503).wait("never") }
    seen = record_events(outages)
    reading, items = tail(:sse)
    expect(items.pop).to eq(1)
    faults.release("broken")
    disconnect, = seen.wait_for
    expect(disconnect.payload).to match(outage(:sse, "1", /\Athe response broke off: /, 1))
    expect(seen.threads).to eq([reading])
    expect(items).to be_empty
  end

  it "report the end of the outage while the read still waits for data" do
    faults.next("GET") { |reply| reply.sse.data("[1]").control("1").rst }
    faults.next("GET") { |reply| reply.sse.control("1", up_to_date: true).wait("never") }
    seen = record_events(outages)
    reading, items = tail(:sse)
    reconnect = seen.wait_for(2).last
    expect(reconnect.payload).to match(outage(:sse, "1", /\Athe response broke off: /, 1))
    expect(seen.names).to eq(%w[disconnect reconnect])
    expect(seen.threads).to eq([reading] * 2)
    expect(items.size).to eq(1)
  end

  it "report the loss, and no end, if the read gives up" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET") { |reply| reply.respond(503) }
    seen = record_events(/connect|retry/)
    expect { fault_stream.read_json(live: :long_poll).to_a }.to raise_error(DurableStreams::FetchError)
    expect(seen.names).to eq(%w[disconnect retry retry])
  end

  it "tell nothing of an error that a retry cannot help" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET") { |reply| reply.respond(404) }
    seen = record_events(/connect|retry/)
    expect { stream.read_json(live: :long_poll).to_a }.to raise_error(DurableStreams::StreamNotFoundError)
    expect(seen.names).to eq([])
  end

  it "go to the callback thread after the reader has stopped reading" do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET") { |reply| reply.wait("lost").rst }
    seen = record_events(outages)
    reader = stream.read_json(live: :long_poll)
    reader.next
    faults.wait_until_waiting("lost")
    faults.release("lost")
    faults.wait_for_request(3)
    reader.close
    seen.wait_for
    expect(seen.names).to eq(%w[disconnect])
    expect(seen.threads.map(&:name)).to eq(["durable_streams callbacks"])
  end
end
