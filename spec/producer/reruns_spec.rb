# frozen_string_literal: true

require "logger"
require "rbconfig"
require "stringio"

# A program that runs again under the id and epoch that it used before.
on_each_server DurableStreams::Producer, "in a program that runs again", :producer do
  # Sends the next append to the real server twice, and the response with this index to the client.
  def double_append(response)
    real = server_url
    faults.next("POST", path) { |reply| reply.forward(real).forward(real).send_response(response) }
  end

  def requests
    faults.requests.map(&:verb)
  end

  # Returns the block's value and discards what it logs.
  def without_log
    value = nil
    logged { value = yield }
    value
  end

  # Returns what the block logs.
  def logged
    log = StringIO.new
    before = DurableStreams.logger
    DurableStreams.logger = Logger.new(log)
    yield
    log.string
  ensure
    DurableStreams.logger = before
  end

  it "stores every message of the documentation's example" do
    program = <<~RUBY
      producer = DurableStreams::Producer.new(
        url: ARGV.fetch(0), producer_id: "order-service-1", epoch: 0, auto_claim: true
      )
      3.times { |number| producer << { run: Integer(ARGV.fetch(1)), number: number } }
      producer.flush
      producer.close
    RUBY
    4.times do |run|
      library = File.expand_path("../../lib", __dir__)
      succeeded = system(RbConfig.ruby, "-I", library, "-r", "durable_streams", "-e", program, stream.url, run.to_s)
      expect(succeeded).to be(true)
    end
    expect(stored.map(&:values)).to eq([*0..3].product([*0..2]))
  end

  it "stores a message that equals one of an earlier run" do
    3.times { direct(auto_claim: true).append!("the same".to_json) }
    expect(stored).to eq(["the same"] * 3)
  end

  it "continues in the next epoch with auto_claim" do
    direct.append!(0)
    notices = Queue.new
    again = direct(auto_claim: true, on_delivery: ->(result, count) { notices << [result.duplicate?, count] })
    expect(again.append!(1)).to have_attributes(duplicate?: false, epoch: 1, seq: 0)
    expect(notices.pop).to eq([false, 1])
    expect(stored).to eq([0, 1])
  end

  it "continues in a later epoch if an earlier run's auto_claim used the next one" do
    fence(41)
    direct(auto_claim: true).append!(42)
    expect(direct(auto_claim: true, epoch: 42).append!(43)).to have_attributes(epoch: 43)
    expect(stored).to eq(["rival", 42, 43])
  end

  it "raises EpochReusedError without auto_claim, with every message undelivered" do
    direct.append!(0)
    again = direct(linger_ms: 60_000)
    again << 1 << { "two" => 2 } << 3
    error = failure { again.flush }
    expect(error).to be_a(DurableStreams::EpochReusedError).and be_a(DurableStreams::StaleEpochError)
    expect(error).to have_attributes(undelivered: [1, { "two" => 2 }, 3], outcome_unknown?: false, current_epoch: 0)
    expect(error.message).to include("auto_claim")
    expect(stored).to eq([0])
  end

  it "recognizes its own request if a proxy sent it twice, whichever response it passes on" do
    [0, 1].each do |response|
      double_append(response)
      producer = proxied(producer_id: "doubled #{response}", auto_claim: true)
      producer.append!(response)
      expect(producer).to have_attributes(epoch: 0, seq: 0)
    end
    expect(stored).to eq([0, 1])
    expect(requests).to eq(%w[HEAD POST HEAD POST GET])
  end

  it "recognizes its own request if a proxy sent it twice after a claim" do
    direct.append!(0)
    faults.next("POST", path) { |reply| reply.forward(server_url).send_response }
    2.times { double_append(1) }
    producer = proxied(auto_claim: true)
    (1..3).each { |message| producer.append!(message) }
    expect(producer).to have_attributes(epoch: 1, seq: 2)
    expect(stored).to eq([0, 1, 2, 3])
  end

  it "finds its batch if the server formats the JSON in another way" do
    double_append(1)
    producer = proxied(linger_ms: 60_000)
    ['{ "b" : 1.0, "a" : "\u00e9\/" }', "[ 1 , [] ]", "1e400", "9007199254740993", '{"1":2,"0":[{}]}'].each do |message|
      producer << message
    end
    producer.flush
    expect(producer).to have_attributes(epoch: 0, pending: 0)
    expect(stored.size).to eq(5)
  end

  it "finds its batch among those of other writers" do
    faults.next("POST", path) do |reply|
      reply.wait(:tail_is_known).forward(server_url).signal(:stored).wait(:others).forward(server_url).send_response(1)
    end
    producer = proxied(linger_ms: 60_000)
    producer << 1 << 2
    flushing = Thread.new { producer.flush }
    faults.wait_until_waiting(:tail_is_known)
    stream << 0
    faults.open(:tail_is_known)
    faults.wait_until_waiting(:others)
    stream << 3
    faults.open(:others)
    flushing.join
    expect(producer.epoch).to eq(0)
    expect(stored).to eq([0, 1, 2, 3])
  end

  it "treats a batch as delivered and warns if the stream cannot be read" do
    direct.append!(0)
    faults.on("GET", path) { |reply| reply.respond(403) }
    result = nil
    log = logged { result = proxied(auto_claim: true).append!(1) }
    # A sequence number above the one sent would reveal the earlier run, but there is none.
    expect(result).to have_attributes(duplicate?: true, epoch: 0)
    expect(log).to match(/WARN.*not certain that 1 message reached .*epoch 0/)
    expect(stored).to eq([0])
  end

  describe "with a warning to log" do
    # A producer whose batch counts as delivered but may be an earlier run's. No method was called since.
    def doubtful(**options)
      direct.append!(0)
      faults.on("GET", path) { |reply| reply.respond(403) }
      producer = proxied(linger_ms: 0, max_batch_items: 1, **options)
      producer << 1 << 2
      # The second request is sent once the first one is settled.
      faults.wait_for_request(2, method: "POST")
      producer
    end

    {
      "an append" => ->(producer) { producer << 3 },
      "an append of an object" => ->(producer) { producer << [3] },
      "a look at what is pending" => :pending.to_proc
    }.each do |name, call|
      it "logs it on #{name}" do
        expect(logged { call.call(doubtful) }).to match(/WARN.*not certain that 1 message reached/)
      end
    end

    it "logs it before it calls a callback" do
      notices = Queue.new
      log = logged do
        doubtful(on_delivery: ->(*) { notices << true })
        2.times { notices.pop }
      end
      expect(log).to match(/WARN.*not certain that 1 message reached/)
    end

    it "logs it after a trap handler, in which loggers cannot log" do
      log = logged do
        producer = doubtful
        appended = false
        before = trap("USR2") { appended = producer << 3 }
        Process.kill("USR2", Process.pid)
        Thread.pass until appended
        trap("USR2", before)
        producer.flush
      end
      expect(log).to match(/WARN.*not certain that 1 message reached/)
    end
  end

  it "sends its messages if HEAD fails" do
    faults.on("HEAD", path) { |reply| reply.respond(405) }
    log = logged { proxied.append!(1) }
    expect(log).to eq("")
    expect(stored).to eq([1])
  end

  it "sends its messages after the client's timeout if HEAD gets no response" do
    faults.on("HEAD", path) { |reply| reply.wait(:never) }
    proxied(timeout: 0.2).append!(1)
    expect(stored).to eq([1])
    expect(requests).to eq(%w[HEAD POST])
  end

  it "requests the tail again after an outage" do
    direct.append!(0)
    2.times { faults.next("HEAD", path) { |reply| reply.respond(503) } }
    faults.next("POST", path) { |reply| reply.retry_after(0) }
    expect(proxied(auto_claim: true, retry_policy: quick(max_retries: 1)).append!(1).epoch).to eq(1)
    expect(requests).to eq(%w[HEAD HEAD POST HEAD POST GET HEAD POST])
    expect(stored).to eq([0, 1])
  end

  it "requests the tail when it has something to send, not when it is created" do
    direct.append!(0)
    client = DurableStreams::Client.new(base_url: faults.url, retry_policy: quick)
    # Requests the content type.
    producer = produce(stream: client.stream(path), auto_claim: true)
    stream << 1
    expect(producer.append!(1)).to have_attributes(epoch: 1, duplicate?: false)
    producer.append!(2)
    expect(stored).to eq([0, 1, 1, 2])
    expect(requests).to eq(%w[HEAD HEAD POST GET HEAD POST POST])
  end

  it "requests the tail with no-cache" do
    proxied.append!(0)
    expect(faults.requests.first).to have_attributes(verb: "HEAD", headers: include(%w[cache-control no-cache]))
  end

  describe "behind a cache that ignores no-cache" do
    it "looks for the tail where the cache does not know it" do
      head = { "content-type" => stream_type, "stream-next-offset" => stream.head.next_offset }
      faults.on("HEAD", path, query: { "offset" => nil }) { |reply| reply.respond(200, **head) }
      direct.append!("the same".to_json)
      expect(proxied(auto_claim: true).append!("the same".to_json)).to have_attributes(epoch: 1, duplicate?: false)
      expect(stored).to eq(["the same"] * 2)
    end

    it "finds its own batch, which is newer than a response in the cache" do
      tail = stream.head.next_offset
      faults.on("GET", path, query: { "cursor" => nil }) { |reply| reply.read("[]", next_offset: tail) }
      double_append(1)
      producer = proxied(auto_claim: true)
      producer.append!(1)
      expect(producer).to have_attributes(epoch: 0, seq: 0)
      expect(stored).to eq([1])
    end
  end

  it "does not request the tail with next_seq; a batch that the server has counts as delivered" do
    direct.append!(0)
    producer = proxied(next_seq: 0)
    expect(producer.append!(0)).to be_duplicate
    expect(producer.append!(1)).not_to be_duplicate
    expect(requests).to eq(%w[POST POST])
    expect(stored).to eq([0, 1])
  end

  it "does not wait for the tail in append" do
    faults.next("HEAD", path) { |reply| reply.wait(:head).forward(server_url).send_response }
    producer = proxied
    producer << 1
    faults.wait_until_waiting(:head)
    faults.open(:head)
    producer.flush
    expect(stored).to eq([1])
  end

  describe "while another producer runs whose first message is the same" do
    # Both send it; the server stores one. Returns the producer that stored it, and the other one.
    def twins(**options)
      faults.next("POST", path) { |reply| reply.wait(:tail_is_known).forward(server_url).send_response }
      second = proxied(**options)
      second << "boot".to_json
      flushing = Thread.new { second.flush }
      faults.wait_until_waiting(:tail_is_known)
      first = direct.tap { |producer| producer.append!("boot".to_json) }
      faults.open(:tail_is_known)
      flushing.join
      [first, second]
    end

    it "warns that the message may be the other one's" do
      log = logged { twins }
      expect(log).to match(/WARN.*not certain that 1 message reached .* Equal data are in the stream/)
      expect(stored).to eq(["boot"])
    end

    it "fails if the other one continues in the epoch" do
      first, second = without_log { twins }
      first.append!(1)
      second << 2 << 3
      expect(failure { second.flush }).to be_a(DurableStreams::EpochReusedError)
        .and have_attributes(undelivered: [2, 3])
      expect(stored).to eq(["boot", 1])
    end

    it "continues in the next epoch with auto_claim if the other one continues in this one" do
      first, second = without_log { twins(auto_claim: true) }
      first.append!(1)
      expect(second.append!(2)).to have_attributes(epoch: 1, duplicate?: false)
      expect(stored).to eq(["boot", 1, 2])
    end

    it "continues, and the other one fails at its first conflicting message" do
      first, second = without_log { twins }
      second.append!(2)
      expect(failure { first.append!(1) }).to be_a(DurableStreams::StaleEpochError)
        .and have_attributes(undelivered: [1])
      expect(stored).to eq(["boot", 2])
    end
  end

  it "closes the stream although an earlier run used the epoch" do
    direct.append!(0)
    direct(auto_claim: true).close_stream
    expect(stream.head).to be_closed
  end

  describe "on a stream of bytes" do
    def stream_type
      "application/octet-stream"
    end

    it "distinguishes an earlier run's batch from its own" do
      direct.append!("one")
      expect(direct(auto_claim: true).append!("two").epoch).to eq(1)
      double_append(1)
      producer = proxied(producer_id: "doubled", content_type: stream_type)
      expect(producer.append!("three").epoch).to eq(0)
      expect(stored.map(&:data).join).to eq("onetwothree")
    end
  end
end
