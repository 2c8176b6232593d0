# frozen_string_literal: true

# An interrupt ends every wait of a producer at once. No message is lost or stored twice.
on_each_server DurableStreams::Producer, "when interrupted", :producer do
  let(:producer) { proxied(linger_ms: 0, max_batch_items: 1, max_buffered_bytes: 24) }

  # The request of message 1 is in flight. Message 2, or as many as fit into the buffer, waits.
  before do
    producer.append!(0)
    block_append(:go, applied: true)
    producer << 1
    faults.wait_until_waiting(:go)
  end

  # The call that waits, and the messages that it appends first (nil: an unknown number of 2s).
  waits = {
    "flush" => [->(producer) { producer.flush }, []],
    "append!" => [->(producer) { producer.append!(2) }, [2]],
    "append to a full buffer" => [->(producer) { loop { producer << 2 } }, nil],
    "close" => [->(producer) { producer.close }, []],
    "close with a timeout" => [->(producer) { producer.close(timeout: 1000) }, []],
    "close_stream" => [->(producer) { producer.close_stream(data: 2) }, [2]]
  }

  interrupts = {
    "Thread#kill" => ->(thread) { thread.kill },
    "Thread#raise" => ->(thread) { thread.raise(Interrupt, "stop") }
  }

  def interrupt(wait, how)
    thread = Thread.new { wait.call(producer) }
    thread.report_on_exception = false
    Thread.pass until thread.stop?
    how.call(thread)
    raise "the wait went on" unless thread.join(AtOnce::SECONDS)
  rescue Interrupt => e
    raise unless e.message == "stop"
  end

  waits.each do |name, (wait, added)|
    interrupts.each do |how, interruption|
      it "ends #{name} on #{how}, and continues afterwards" do
        interrupt(wait, interruption)
        faults.open(:go)
        producer.flush
        producer.close
        items = stored
        expect(items.first(2)).to eq([0, 1])
        added ? expect(items.drop(2)).to(eq(added)) : expect(items.drop(2).uniq).to(eq([2]))
      end
    end

    it "ends #{name} on Timeout.timeout" do
      expect { Timeout.timeout(0.05) { wait.call(producer) } }.to raise_error(Timeout::Error)
      faults.open(:go)
      producer.close
      expect(stored.first(2)).to eq([0, 1])
    end
  end

  it "can be appended to after an interrupted flush, append or append!" do
    waits.first(3).each { |_, (wait, _)| interrupt(wait, interrupts.values.first) }
    faults.open(:go)
    expect(producer.append!("after".to_json).seq).to eq(producer.seq)
    expect(stored.first(2) + [stored.last]).to eq([0, 1, "after"])
  end

  it "accepts nothing after an interrupted close, and the next close completes it" do
    interrupt(waits["close"].first, interrupts.values.first)
    expect(producer).to be_closed
    expect { producer << 3 }.to raise_error(DurableStreams::ClosedError)
    faults.open(:go)
    producer.close
    expect(stored).to eq([0, 1])
  end

  it "closes the stream once after an interrupted close_stream, with the data of the first call" do
    interrupt(waits["close_stream"].first, interrupts.values.first)
    faults.open(:go)
    expect(producer.close_stream(data: 2).final_offset).to eq(stream.head.next_offset)
    expect(stored).to eq([0, 1, 2])
  end

  it "lets other threads run while it waits" do
    thread = Thread.new { producer.flush }
    count = 0
    200_000.times { count += 1 }
    expect(thread).to be_alive
    faults.open(:go)
    thread.join
    expect(count).to eq(200_000)
  end
end
