# frozen_string_literal: true

on_each_server DurableStreams::Producer, "with subscribers of its events", :producer do
  let(:url) { stream.url }

  # Waits for events of this name.
  def await(seen, name, count = 1)
    seen.wait_for(count) { |event| event.name == "#{name}.durable_streams" }
  end

  def batch(seq, messages, **rest)
    { url: url, producer_id: "writer", epoch: 0, seq: seq, messages: messages, bytes: Integer, attempts: 1,
      duplicate: false, next_offset: String, **rest }
  end

  it "reports every delivered batch, on the callback thread" do
    producer = direct(linger_ms: 60_000, max_batch_items: 2)
    seen = record_events(url: url)
    3.times { |number| producer << number }
    producer.flush
    result = producer.append!("12")
    batches = await(seen, "batch", 3)
    expect(batches.map(&:payload)).to match(
      [batch(0, 2, bytes: 5), batch(1, 1, bytes: 3), batch(2, 1, bytes: 4, next_offset: result.next_offset)]
    )
    expect(batches).to all(have_attributes(error: nil, duration: be > 0))
    expect(seen.names).to eq(%w[request request batch request batch request batch])
    requests = seen.named("request").map { |event| event.payload.values_at(:operation, :method, :bytes_sent, :attempt) }
    expect(requests).to eq([[:head, "HEAD", 0, 1], [:produce, "POST", 5, 1], [:produce, "POST", 3, 1],
                            [:produce, "POST", 4, 1]])
    expect(seen.threads.uniq.map(&:name)).to eq(["durable_streams callbacks"])
  end

  it "reports the request that closes the stream as a batch without messages" do
    producer = direct
    seen = record_events("batch.durable_streams", url: url)
    final = producer.close_stream.final_offset
    expect(await(seen, "batch").map(&:payload)).to match([batch(0, 0, bytes: 0, next_offset: final)])
  end

  it "reports batches to those who subscribe after it was created" do
    producer = direct
    producer.append!(1)
    seen = record_events("batch.durable_streams", url: url)
    producer.append!(2)
    expect(await(seen, "batch").map { |event| event.payload[:seq] }).to eq([1])
  end

  it "reports retries, and the attempts and the duration of the batch" do
    faults.next("POST", path) { |reply| reply.respond(503, "later") }
    faults.next("POST", path) { |reply| reply.forward(server_url).rst }
    producer = proxied
    seen = record_events(/retry|batch|request/)
    producer.append!(1)
    batch = await(seen, "batch").first
    expect(batch.payload).to match(batch(0, 1, attempts: 3, duplicate: true, url: faults.url(path),
                                               next_offset: be_nil.or(be_a(String))))
    expect(seen.named("retry").map(&:payload)).to match(
      [{ operation: :produce, url: faults.url(path), attempt: 1, delay: be_between(0.001, 1),
         reason: "server error (503): later" },
       { operation: :produce, url: faults.url(path), attempt: 2, delay: be_between(0.001, 1),
         reason: /\Athe connection was lost/ }]
    )
    posts = seen.named("request").map(&:payload).select { |payload| payload[:method] == "POST" }
    expect(posts.map { |payload| payload.values_at(:status, :attempt) }).to match([[503, 1], [nil, 2], [be < 300, 3]])
    expect(batch.duration).to be >= seen.named("retry").sum { |event| event.payload[:delay] }
  end

  it "reports the epoch that it claims, and the one before" do
    producer = direct(auto_claim: true)
    producer.append!(1)
    fence(4)
    seen = record_events(/claim|batch/, url: url)
    producer.append!(2)
    # The rival's event may come late.
    seen.wait_for { |event| event.payload[:epoch] == 5 }
    claim, batch = seen.reject { |event| event.payload[:epoch] == 4 }
    expect(claim.payload).to eq({ url: url, producer_id: "writer", from: 0, to: 5 })
    expect(claim).to have_attributes(error: nil, duration: 0.0)
    expect(batch.payload).to match(batch(0, 1, epoch: 5))
  end

  it "reports its failure, and the batches whose requests have failed" do
    producer = direct(linger_ms: 60_000, max_batch_items: 2)
    seen = record_events(/batch|failed/, url: url)
    stream.close_stream
    # The second one completes the batch. A third one could come after its failure.
    2.times { |number| producer << number }
    error = failure { producer.flush }
    failed = await(seen, "producer_failed").first
    expect(failed.payload).to match({ url: url, producer_id: "writer", undelivered: 2,
                                      error: be_a(DurableStreams::StreamClosedError) })
    expect(failed).to have_attributes(error: equal(failed.payload[:error]), duration: 0.0)
    expect(failed.error.message).to eq(error.message)
    batches = seen.named("batch")
    expect(batches.first).to have_attributes(error: be_a(DurableStreams::StreamClosedError),
                                             payload: match(batch(0, 2, bytes: 5, next_offset: nil)))
    expect(seen.names).to eq(["batch"] * batches.size + ["producer_failed"])
    expect(error.undelivered).to eq([0, 1])
  end

  it "reports what a value callable raised as the error of its failure" do
    producer = direct(headers: { "x" => -> { raise KeyError, "token" } })
    seen = record_events("producer_failed.durable_streams", url: url)
    producer << 1
    failure { producer.flush }
    expect(await(seen, "producer_failed").first).to have_attributes(
      error: be_a(KeyError), payload: include(undelivered: 1)
    )
  end

  it "does not change deliveries if a subscriber raises, or is slow" do
    allow(DurableStreams).to receive(:logger).and_return(double(error: nil))
    gate = Queue.new
    subscribe("batch.durable_streams") { gate.pop && raise("mine") }
    producer = direct(max_batch_items: 1)
    10.times { |number| producer << number }
    producer.flush
    expect(stored).to eq((0..9).to_a)
    gate.close
    producer.close
  end

  it "lets a subscriber append to it, which delivers another event" do
    producer = direct(max_batch_items: 1, linger_ms: 0)
    seen = record_events("batch.durable_streams", url: url)
    subscribe("batch.durable_streams") { |event| producer << [event.payload[:seq]] if event.payload[:seq] < 3 }
    producer << 1
    await(seen, "batch", 4)
    expect(stored).to eq([1, [0], [1], [2]])
  end

  it "delivers events after the callback thread was killed" do
    producer = direct
    seen = record_events("batch.durable_streams", url: url)
    producer.append!(1)
    await(seen, "batch")
    seen.threads.first.kill.join
    producer.append!(2)
    await(seen, "batch", 2)
    expect(seen.threads.uniq.size).to eq(2)
  end

  it "goes on with the next event if a subscriber ends the callback thread" do
    producer = direct
    subscribe("batch.durable_streams") { |event| Thread.exit if event.payload[:seq].zero? }
    seen = record_events("batch.durable_streams", url: url)
    2.times { |number| producer.append!(number) }
    expect(await(seen, "batch").map { |event| event.payload[:seq] }).to eq([1])
  end
end
