# frozen_string_literal: true

on_each_server DurableStreams::Producer, "over a bad network", :producer do
  let(:producer) { proxied(linger_ms: 0, max_batch_items: 1) }

  # Injects one fault, for the second of four batches.
  def survives(&fault)
    producer.append!(0)
    faults.next("POST", path, &fault)
    (1..3).each { |i| producer << i }
    producer.flush
    expect(stored).to eq([0, 1, 2, 3])
  end

  it "retries a request that was lost" do
    survives(&:rst)
  end

  it "retries a stored batch whose response was lost" do
    survives { |reply| reply.forward(server_url).rst }
  end

  it "treats a truncated response as lost" do
    survives { |reply| reply.forward(server_url).cut(after: 10).send_response }
  end

  it "accepts that a request arrives twice" do
    survives { |reply| reply.forward(server_url).forward(server_url).send_response(0) }
  end

  it "treats the response to a duplicate request as a success" do
    survives { |reply| reply.forward(server_url).forward(server_url).send_response(1) }
  end

  [500, 502, 503, 504].each do |status|
    it "retries after a #{status}, whether or not the server stored the batch" do
      faults.on("POST", path, times: 1) { |reply| reply.respond(status) }
      survives { |reply| reply.forward(server_url).respond(status) }
    end
  end

  it "returns the result of an append although the logger raises" do
    before = DurableStreams.logger
    DurableStreams.logger = Class.new(Logger) { def add(*) = raise(IOError, "disk full") }.new(nil)
    producer.append!(0)
    faults.next("POST", path) { |reply| reply.respond(503) }
    result = nil
    expect { result = producer.append!(1) }.to output(/outage.*disk full/).to_stderr
    expect(result).not_to be_duplicate
    expect(stored).to eq([0, 1])
  ensure
    DurableStreams.logger = before
  end

  it "waits for the Retry-After of a 429" do
    producer.append!(0)
    faults.next("POST", path) { |reply| reply.retry_after(1) }
    producer.append!(1)
    refused, repeated = faults.requests(method: "POST").last(2)
    expect(repeated.time - refused.time).to be_between(1, 1 + AtOnce::SECONDS)
    expect(stored).to eq([0, 1])
  end

  it "marks the result of a duplicate, which has no offset" do
    faults.next("POST", path) { |reply| reply.forward(server_url).rst }
    expect(producer.append!(0)).to have_attributes(duplicate?: true, epoch: 0, seq: 0)
    expect(stored).to eq([0])
  end

  it "retries with the same sequence number, epoch and bytes" do
    faults.next("POST", path) { |reply| reply.forward(server_url).rst }
    producer.append!({ "n" => 1 })
    sent = faults.requests(method: "POST").map do |request|
      [*%w[producer-id producer-epoch producer-seq content-type].map { |name| request.header(name) }, request.body]
    end
    expect(sent).to eq([["writer", "0", "0", "application/json", '[{"n":1}]']] * 2)
  end

  it "retries a request after a timeout, although the first one arrives late" do
    impatient = proxied(linger_ms: 0, max_batch_items: 1, timeout: 0.3, retry_policy: quick(max_retries: 1_000))
    impatient.append!(0)
    block_append(:late)
    impatient.append!(1)
    impatient.append!(2)
    faults.open(:late)
    faults.wait_until_responded(2)
    impatient.append!(3)
    expect(stored).to eq([0, 1, 2, 3])
  end

  it "restores the order of requests that overtook one another and repeats only those that the server rejected" do
    producer.append!(0)
    # The request that arrives first waits for the other three, and these wait until all are in flight.
    faults.next("POST", path) do |reply|
      3.times { reply.wait(:overtaken, patient: true) }
      reply.forward(server_url).send_response
    end
    3.times do
      faults.next("POST", path) do |reply|
        reply.wait(:all_out, patient: true).forward(server_url).send_response.signal(:overtaken)
      end
    end
    (1..4).each { |i| producer << i }
    faults.wait_until_waiting(:all_out, 3)
    faults.open(:all_out)
    producer.flush
    expect(stored).to eq([0, 1, 2, 3, 4])
    numbers = faults.requests(method: "POST").map { |request| Integer(request.header("producer-seq")) }
    expect(numbers.tally.values).to all(be <= 2)
  end

  it "continues after a server that did not respond for a while" do
    own = start_server
    target = DurableStreams::Stream.create(own.url + path, content_type: :json)
    client = DurableStreams::Client.new(timeout: 0.2, retry_policy: quick(max_retries: 1_000))
    writer = described_class.new(url: target.url, client: client, producer_id: "writer", max_batch_items: 10)
    500.times { |i| writer << i }
    own.suspend
    500.times { |i| writer << (500 + i) }
    expect { Timeout.timeout(0.5) { writer.flush } }.to raise_error(Timeout::Error)
    own.resume
    writer.close
    expect(target.read_all).to eq((0...1_000).to_a)
  end
end
