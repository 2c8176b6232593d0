# frozen_string_literal: true

on_each_server DurableStreams::Producer, "with callbacks", :producer do
  let(:notices) { Queue.new }

  # Waits for the next notice and returns it.
  def next_notice
    notices.pop
  end

  # Ends the callback thread, and those that it starts when it ends.
  def kill_callback_threads
    running = -> { Thread.list.select { |thread| thread.name == "durable_streams callbacks" } }
    running.call.each { |thread| thread.kill.join } until running.call.empty?
  end

  it "calls on_delivery for every stored batch, in order" do
    producer = direct(linger_ms: 60_000, max_batch_items: 2, on_delivery: lambda { |result, count|
                                                                            notices << [result, count]
                                                                          })
    5.times { |i| producer << i }
    producer.flush
    results = Array.new(3) { next_notice }
    expect(results.map(&:last)).to eq([2, 2, 1])
    expect(results.map { |result, _| [result.class, result.epoch, result.seq, result.duplicate?] })
      .to eq(Array.new(3) { |seq| [DurableStreams::ProducerResult, 0, seq, false] })
    expect(results.last.first.next_offset).to eq(stream.head.next_offset)
  end

  it "calls on_error once, with the undelivered messages" do
    producer = direct(linger_ms: 60_000, on_error: ->(error) { notices << error })
    stream.close_stream
    producer << { a: 1 } << 2
    failure { producer.flush }
    error = next_notice
    expect(error).to be_a(DurableStreams::StreamClosedError).and be_a(DurableStreams::ProducerError)
    expect(error.undelivered).to eq([{ a: 1 }, 2])
    failure { producer << 3 }
    expect(notices).to be_empty
  end

  it "passes on_error a callable's exception as the cause" do
    producer = direct(linger_ms: 0, headers: { "x" => -> { raise KeyError } }, on_error: ->(error) { notices << error })
    producer << 1
    expect(next_notice.cause).to be_a(KeyError)
  end

  it "runs callbacks and callables without the fiber storage of their threads' starter", if: RUBY_VERSION >= "3.2" do
    seen = ChildProcess.run do
      Fiber[:tenant] = "mine"
      note = ->(*) { notices << Fiber[:tenant] }
      direct(headers: { "x" => -> { note.call && "1" } }, on_delivery: note).tap { |producer| producer << 1 }.close
      Array.new(2) { next_notice }
    end
    expect(seen).to eq([nil, nil])
  end

  it "can be made again after there was no stack for a fiber that starts its thread", if: RUBY_VERSION >= "3.2" do
    seen = ChildProcess.run do
      options = { headers: { "x" => -> { "1" } }, on_delivery: ->(_, count) { notices << count } }
      Fiber.define_singleton_method(:new) { |*, **| raise FiberError, "can't alloc machine stack to fiber" }
      error = begin
        direct(**options)
      rescue FiberError => e
        e.message
      end
      Fiber.singleton_class.remove_method(:new)
      direct(**options).tap { |producer| producer.append!(1) }.close
      [error, next_notice]
    end
    expect(seen).to eq(["can't alloc machine stack to fiber", 1])
  end

  [RuntimeError, NotImplementedError, SystemStackError].each do |type|
    it "logs a #{type} that a callback raises, and continues" do
      logger = double(error: nil)
      allow(DurableStreams).to receive(:logger).and_return(logger)
      producer = direct(on_delivery: lambda { |result, _|
        notices << result.seq
        raise type, "mine" if result.seq.zero?
      })
      2.times { |i| producer.append!(i) }
      expect(Array.new(2) { next_notice }).to eq([0, 1])
      expect(logger).to have_received(:error).with(/#{type}: mine/)
    end
  end

  it "does not wait for a slow callback" do
    gate = Queue.new
    producer = direct(headers: { "x" => -> { "1" } }, on_delivery: ->(*) { notices << gate.pop })
    10.times { |i| producer.append!(i) }
    expect(stored).to eq((0..9).to_a)
    10.times { |i| gate << i }
    expect(Array.new(10) { next_notice }).to eq((0..9).to_a)
  end

  it "lets a callback append and flush" do
    producer = nil
    producer = direct(headers: { "x" => -> { "1" } }, on_delivery: lambda { |result, _|
      next notices << :end if result.seq > 2

      producer << [result.seq, :appended]
      producer.flush
      notices << producer.pending
    })
    producer.append!("first".to_json)
    expect(Array.new(4) { next_notice }).to eq([0, 0, 0, :end])
    expect(stored).to eq(["first", [0, "appended"], [1, "appended"], [2, "appended"]])
  end

  it "lets a callback close the producer" do
    producer = nil
    producer = direct(on_delivery: ->(*) { notices << [producer.close, producer.closed?] })
    producer.append!(1)
    expect(next_notice).to eq([nil, true])
    expect { producer << 2 }.to raise_error(DurableStreams::ClosedError)
  end

  it "lets on_error continue with another producer" do
    start_over = lambda do |error|
      next_one = direct(epoch: error.current_epoch + 1)
      error.undelivered.each { |data| next_one << data }
      next_one.flush
      notices << next_one.epoch
    end
    producer = direct(linger_ms: 60_000, on_error: start_over)
    producer.append!(1)
    fence(1)
    producer << 2 << { three: 3 }
    failure { producer.flush }
    expect(next_notice).to eq(2)
    expect(stored).to eq([1, "rival", 2, { "three" => 3 }])
  end

  it "recovers when the callback thread is killed" do
    producer = direct(on_delivery: ->(*) { notices << Thread.current })
    producer.append!(1)
    thread = next_notice
    expect(thread.name).to eq("durable_streams callbacks")
    thread.kill.join
    producer.append!(2)
    expect(next_notice).not_to eq(thread)
  end

  it "calls them on a thread of the caller's thread group if the group is enclosed" do
    producer = direct(on_delivery: ->(*) { notices << Thread.current })
    producer.append!(1)
    next_notice
    # One that ends may have a successor, because the GC closes the producers of earlier examples.
    kill_callback_threads
    group = ThreadGroup.new
    start = Queue.new
    caller = Thread.new { start.pop && producer.append!(2) }
    group.add(caller).enclose
    start << true
    caller.join
    expect(next_notice.tap { |thread| expect(thread.group).to equal(group) }.kill.join).to be_a(Thread)
  end
end
