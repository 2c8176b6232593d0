# frozen_string_literal: true

on_each_server DurableStreams::Producer, "appending", :producer do
  it "returns from append at once, and from flush after all messages are stored in order" do
    producer = direct(linger_ms: 60_000)
    expect(Array.new(100) { |i| producer.append({ i: i }) }).to all(be_nil)
    expect(producer.pending).to eq(100)
    expect(producer.flush).to be_nil
    expect(producer.pending).to eq(0)
    expect(stored).to eq(Array.new(100) { |i| { "i" => i } })
  end

  it "accepts the same data as Stream#append" do
    own = Class.new { def to_json(*) = '{"own":true}' }
    producer = direct
    producer << { a: 1 } << [1, [2]] << 1.5 << nil << true << false << '{"already": "JSON"}' << own.new
    producer.flush
    expect(stored).to eq([{ "a" => 1 }, [1, [2]], 1.5, nil, true, false, { "already" => "JSON" }, { "own" => true }])
  end

  it "rejects invalid data in append and still sends the rest of the batch" do
    producer = direct(linger_ms: 60_000)
    producer << 1
    expect { producer << '{"a":' }.to raise_error(DurableStreams::ParseError)
    expect { producer << "[1]\xFF" }.to raise_error(DurableStreams::ParseError)
    expect { producer << "" }.to raise_error(DurableStreams::ParseError)
    expect { producer << Object.new }.to raise_error(ArgumentError, /a JSON stream takes/)
    expect { producer.append!("nope") }.to raise_error(DurableStreams::ParseError)
    producer << 2
    producer.flush
    expect(stored).to eq([1, 2])
  end

  it "names the stream in its errors" do
    producer = direct(max_buffered_bytes: 1, when_full: :raise, linger_ms: 60_000)
    producer << 1
    named = ->(reason) { have_attributes(url: stream.url, message: /\Aproduce to #{stream.url}: #{reason}/) }
    expect(failure { producer << 2 }).to named.call("the producer's buffer is full")
    [-> { producer << "{" }, -> { producer.append!("{") }, -> { producer.close_stream(data: "{") }].each do |call|
      expect(&call).to raise_error(DurableStreams::ParseError) { |error| expect(error).to named.call("invalid JSON") }
    end
    producer.close
    [-> { producer << 3 }, -> { producer.append!(3) }, -> { producer.close_stream }].each do |call|
      expect(&call).to raise_error(DurableStreams::ClosedError) { |error|
        expect(error).to named.call("the producer is closed")
      }
    end
  end

  it "preserves each thread's order" do
    producer = direct(max_batch_items: 7)
    Array.new(4) { |t| Thread.new { 200.times { |i| producer << [t, i] } } }.each(&:join)
    producer.flush
    expect(stored.group_by(&:first)).to eq((0..3).to_h { |t| [t, Array.new(200) { |i| [t, i] }] })
  end

  describe "on a stream of bytes" do
    def stream_type
      "application/octet-stream"
    end

    it "sends Strings byte for byte and rejects other data" do
      producer = direct
      producer << "a\xFF\0".b << "é"
      expect { producer << { a: 1 } }.to raise_error(ArgumentError, /takes a String, got Hash/)
      expect { producer << "" }.to raise_error(ArgumentError, /empty/)
      producer.flush
      expect(stored.map(&:data).join).to eq("a\xFF\0é".b)
    end
  end

  describe "append!" do
    it "returns the offset where the next message begins" do
      producer = direct(linger_ms: 60_000)
      first = producer.append!({ n: 1 })
      expect(first).to be_a(DurableStreams::ProducerResult)
      expect(first).to have_attributes(next_offset: stream.head.next_offset, duplicate?: false, epoch: 0, seq: 0)
      producer << { n: 2 }
      last = producer.append!({ n: 3 })
      expect(stream.read_json(offset: first.next_offset).to_a).to eq([{ "n" => 2 }, { "n" => 3 }])
      expect(last).to have_attributes(next_offset: stream.head.next_offset, seq: producer.seq)
    end

    it "may be called by several threads at the same time" do
      producer = direct(linger_ms: 60_000)
      results = Array.new(8) { |i| Thread.new { producer.append!(i) } }.map(&:value)
      expect(results.map(&:next_offset)).to all(be_a(String))
      expect(stored).to match_array(0..7)
    end
  end

  describe "batches" do
    def batches
      # Batches in flight at the same time may arrive in any order and more than once.
      faults.requests(method: "POST").uniq { |request| request.header("producer-seq") }
            .sort_by { |request| Integer(request.header("producer-seq")) }.map { |request| JSON.parse(request.body) }
    end

    it "are sent after linger_ms without any call" do
      producer = proxied(linger_ms: 30)
      appended = now
      producer << 1
      sent = faults.wait_for_request(method: "POST").time
      expect(sent - appended).to be_between(0.03, AtOnce::SECONDS)
      expect(batches.size).to eq(1)
    end

    it "collect messages until linger_ms has passed" do
      producer = proxied(linger_ms: 60_000)
      5.times { |i| producer << i }
      expect(batches).to be_empty
      producer.flush
      expect(batches).to eq([[0, 1, 2, 3, 4]])
    end

    it "are sent at max_batch_items" do
      producer = proxied(linger_ms: 60_000, max_batch_items: 3)
      7.times { |i| producer << i }
      faults.wait_for_request(2)
      producer.flush
      expect(batches).to eq([[0, 1, 2], [3, 4, 5], [6]])
    end

    it "never exceed max_batch_bytes, except for a single larger message" do
      producer = proxied(linger_ms: 60_000, max_batch_bytes: 9)
      producer << 111 << 222 << "3333333333333" << 4 << 5
      producer.flush
      expect(batches).to eq([[111, 222], [3_333_333_333_333], [4, 5]])
    end

    it "are sent at once by append!, with the messages appended before" do
      producer = proxied(linger_ms: 60_000)
      producer << 1
      producer.append!(2)
      expect(batches).to eq([[1, 2]])
    end

    it "are in flight up to max_in_flight at a time" do
      producer = proxied(linger_ms: 0, max_batch_items: 1, max_in_flight: 3)
      producer.append!(0)
      3.times { block_append(:responses) }
      6.times { |i| producer << (i + 1) }
      faults.wait_until_waiting(:responses, 3)
      # No gate blocks a fourth batch: it would be stored by now.
      expect { Timeout.timeout(0.1) { producer.flush } }.to raise_error(Timeout::Error)
      expect(faults.requests(method: "POST").size).to eq(4)
      faults.open(:responses)
      producer.flush
      expect(stored).to eq((0..6).to_a)
    end
  end

  describe "when the buffer is full" do
    # 24 bytes: about ten messages of one digit, with their separators, fill it.
    def full(**options)
      producer = proxied(linger_ms: 0, max_batch_items: 1, max_buffered_bytes: 24, **options)
      producer.append!(0)
      block_append(:room)
      producer
    end

    it "blocks append until there is room and lets other threads run" do
      producer = full
      appended = Queue.new
      thread = Thread.new { 20.times { |i| appended << i if producer.append(i + 1).nil? } }
      faults.wait_until_waiting(:room)
      Thread.pass until thread.stop?
      expect(appended.size).to be_between(1, 19)
      faults.open(:room)
      thread.join
      producer.flush
      expect(stored).to eq((0..20).to_a)
    end

    it "raises with when_full: :raise and accepts messages again when there is room" do
      producer = full(when_full: :raise)
      error = failure { loop { producer << 1 } }
      expect(error).to be_an_instance_of(DurableStreams::ProducerError)
      expect(error.message).to match(/full/)
      expect(error.undelivered).to eq([])
      faults.open(:room)
      producer.flush
      producer << 2
      producer.flush
      expect(stored.last).to eq(2)
    end
  end

  it "flushes the messages that any thread appended before" do
    producer = proxied(linger_ms: 60_000, max_batch_items: 10)
    seen = Array.new(20) do |round|
      13.times { |i| Thread.new { producer << [round, i] }.join }
      producer.flush
      stream.read_all.size
    end
    expect(seen).to eq(Array.new(20) { |round| (round + 1) * 13 })
  end
end
