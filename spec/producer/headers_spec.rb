# frozen_string_literal: true

on_each_server DurableStreams::Producer, "with headers", :producer do
  def sent(name)
    faults.requests(method: "POST").map { |request| request.header(name) }
  end

  # The thread of each call of a callable.
  let(:calls) { Queue.new }

  def counting
    count = 0
    lambda do
      calls << Thread.current
      (count += 1).to_s
    end
  end

  it "sends the client's, the stream's and its own headers; the more specific one wins" do
    client = DurableStreams::Client.new(base_url: faults.url, headers: { "x-a" => "client", "x-b" => "client" })
    handle = client.stream(path, content_type: :json, headers: { "x-b" => "stream", "x-c" => "stream" })
    described_class.open(stream: handle, producer_id: "writer", headers: { "x-c" => "own" }) { |own| own << 1 }
    expect(%w[x-a x-b x-c].map { |name| sent(name) }).to eq([%w[client], %w[stream], %w[own]])
  end

  it "calls callables once for every request, retries included, on the callback thread" do
    producer = proxied(max_batch_items: 1, headers: { "x-count" => counting })
    faults.next("POST", path) { |reply| reply.respond(503) }
    faults.next("POST", path) { |reply| reply.forward(server_url).rst }
    producer.append!(1)
    producer.append!(2)
    # The response to the first batch was lost: the GET reads back whose batch the server has.
    expect(faults.requests.map(&:verb)).to eq(%w[HEAD POST POST POST GET POST])
    expect(faults.requests.map { |request| request.header("x-count") }).to eq(%w[1 2 3 4 5 6])
    threads = Array.new(calls.size) { calls.pop }
    expect(threads.uniq.size).to eq(1)
    expect(threads.first).not_to eq(Thread.current)
    expect(threads.first.name).to eq("durable_streams headers")
    expect(stored).to eq([1, 2])
  end

  it "calls callables while no method waits" do
    producer = proxied(linger_ms: 0, headers: { "x-count" => counting })
    producer << 1
    expect(faults.wait_for_request(method: "POST").header("x-count")).to eq("2")
  end

  it "omits a header whose callable returns nil" do
    producer = proxied(headers: { "x-none" => -> {} })
    producer.append!(1)
    expect(sent("x-none")).to eq([nil])
  end

  it "raises ProducerError whose cause is the callable's exception" do
    [KeyError.new("no token"), NotImplementedError.new("later"), DurableStreams::StreamNotFoundError.new("elsewhere")]
      .each do |raised|
        producer = direct(headers: { "x" => -> { raise raised } })
        producer << { lost: 1 }
        error = failure { producer.flush }
        expect(error).to be_an_instance_of(DurableStreams::ProducerError)
        expect(error).to have_attributes(cause: raised, undelivered: [{ lost: 1 }], message: /#{raised.message}/)
        expect(failure { producer << 2 }.cause).to equal(raised)
      end
    expect(stored).to eq([])
  end

  it "raises an error for an invalid value, without showing the value" do
    producer = direct(headers: { "x" => -> { "secret\r\n" } })
    error = failure { producer.append!(1) }
    expect(error.cause).to be_an(ArgumentError)
    expect(error.full_message).not_to include("secret")
  end

  it "recovers when the callback thread is killed" do
    producer = proxied(headers: { "x-count" => counting })
    producer.append!(1)
    calls.pop.kill.join
    producer.append!(2)
    expect(sent("x-count")).to eq(%w[2 3])
  end

  it "detects the deadlock if a callable waits for its own producer" do
    producer = nil
    producer = direct(linger_ms: 0, headers: { "x" => -> { producer.flush } })
    producer << 1
    expect(failure { producer.flush }.cause).to be_a(ThreadError)
  end

  it "detects the deadlock if a callable waits for room in another producer that waits for the same thread" do
    audit = direct(producer_id: "audit", max_buffered_bytes: 20, headers: { "x" => -> { "y" } })
    producer = direct(headers: { "x" => -> { 10.times { audit << "token fetched".to_json } } })
    producer << "lost".to_json
    expect(failure { producer.flush }.cause).to be_a(ThreadError)
    audit.flush
    expect(stored).to eq(["token fetched"])
  end

  it "lets a callable append to another producer that has room" do
    audit = direct(producer_id: "audit", headers: { "x" => -> { "y" } })
    producer = direct(headers: { "x" => -> { (audit << "token fetched".to_json) && "y" } })
    producer.append!("message".to_json)
    audit.flush
    expect(stored).to contain_exactly("token fetched", "token fetched", "message")
  end

  it "lets callables use the library, even the producer's own stream" do
    handle = nil
    handle = DurableStreams::Stream.new(stream.url, content_type: :json)
    producer = direct(headers: { "x" => -> { handle.append("from the callable".to_json).next_offset } })
    producer.append!("message".to_json)
    expect(stored).to eq(["from the callable", "from the callable", "message"])
  end
end
