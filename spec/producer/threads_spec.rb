# frozen_string_literal: true

# Callback threads, which run callables and callbacks: they may block, end, be killed, or fail to start.
RSpec.describe DurableStreams::Producer, "and its callback threads", :producer do
  let(:calls) { Queue.new }
  let(:gate) { Queue.new }

  # The library's living threads.
  def threads(kind = nil)
    Thread.list.select { |thread| thread.alive? && thread.name&.start_with?("durable_streams #{kind}") }
  end

  # A callable that records its call and blocks until the gate has a value for it.
  def stuck
    lambda do
      calls << Thread.current
      gate.pop
    end
  end

  def received_calls
    Array.new(calls.size) { calls.pop }
  end

  describe "with a callable that is stuck" do
    after { gate.close }

    it "does not stop other producers, created before or after" do
      before = direct(producer_id: "before", headers: { "x" => -> { "1" } })
      blocked = Array.new(3) do |n|
        direct(producer_id: "stuck #{n}", linger_ms: 0, headers: { "x" => stuck }).tap { |producer| producer << 0 }
      end
      3.times { calls.pop }
      before.append!("before".to_json)
      direct(producer_id: "after", headers: { "x" => -> { "1" } }).append!("after".to_json)
      expect(stored).to eq(%w[before after])
      expect(blocked.map(&:pending)).to eq([1, 1, 1])
    end

    it "does not stop other producers of the same stream handle" do
      stuck_once = true
      handle = DurableStreams::Stream.new(stream.url, content_type: :json, headers: { "x" => lambda {
        next "1" unless stuck_once

        stuck_once = false
        stuck.call
      } })
      first = described_class.new(stream: handle, producer_id: "first", linger_ms: 0)
      second = described_class.new(stream: handle, producer_id: "second")
      producers.push(first, second)
      first << 1
      calls.pop
      second.append!("2")
      expect(stored).to eq([2])
    end

    it "calls a producer's callable for one request at a time, in order" do
      running = 0
      callable = lambda do
        calls << (running += 1)
        gate.pop.tap { running -= 1 }
      end
      producer = direct(linger_ms: 0, max_batch_items: 1, headers: { "x" => callable })
      4.times { |i| producer << i }
      # A wrong second call would happen during this append.
      direct(producer_id: "other", headers: { "x" => -> { "1" } }).append!("other".to_json)
      gate.close
      producer.flush
      expect(received_calls).to all(eq(1))
      expect(stored).to eq(["other", 0, 1, 2, 3])
    end
  end

  it "serve many producers with few threads" do
    many = Array.new(30) { |n| direct(producer_id: "w#{n}", linger_ms: 0, headers: { "x" => -> { "1" } }) }
    3.times { many.each { |producer| producer << 1 } }
    many.each(&:flush)
    expect(stored.size).to eq(90)
    expect(threads("headers").size).to be <= 5
  end

  describe "that are killed" do
    # A thread in a flush. The producer's request for 1 is blocked at a gate, and 2 waits.
    def flushing
      @producer = proxied(linger_ms: 0, max_batch_items: 1, max_in_flight: 1, headers: { "x" => -> { "1" } },
                          on_delivery: ->(result, _) { calls << result.seq })
      send_blocked(@producer, [1], :go)
      @producer << 2
      in_flush = Thread.new { @producer.flush }
      Thread.pass until in_flush.stop?
      in_flush
    end

    it "are restarted for a flush that waits" do
      in_flush = flushing
      threads.each(&:kill).each(&:join)
      faults.open(:go)
      in_flush.join
      expect(Array.new(2) { calls.pop }).to eq([0, 1])
      expect(stored).to eq([1, 2])
    end

    it "are restarted after Thread#raise" do
      in_flush = flushing
      threads.each { |thread| (thread.report_on_exception = false) || thread.raise(KeyError) }
      faults.open(:go)
      in_flush.join
      expect(Array.new(2) { calls.pop }).to eq([0, 1])
    end

    it "are restarted for messages without a waiting thread" do
      flushing.kill.join
      threads.each(&:kill)
      faults.open(:go)
      expect(Array.new(2) { calls.pop }).to eq([0, 1])
    end

    it "are restarted for the next append if they were killed while idle" do
      producer = direct(headers: { "x" => -> { "1" } }, on_delivery: ->(*) { calls << 1 })
      producer.append!(1)
      calls.pop
      threads.each(&:kill).each(&:join) while threads.any?
      producer.append!(2)
      expect(calls.pop).to eq(1)
    end

    it "run an unfinished callable again" do
      # With next_seq the producer is not fresh, so its batch is the only request.
      producer = direct(linger_ms: 0, next_seq: 0, headers: { "x" => stuck })
      producer << 1
      calls.pop.kill
      calls.pop
      gate << "1"
      producer.flush
      expect(stored).to eq([1])
    end
  end

  it "run every callback although each one ends its thread" do
    producer = direct(max_batch_items: 1, on_delivery: lambda { |result, _|
      calls << result.seq
      Thread.exit
    })
    3.times { |i| producer << i }
    producer.flush
    expect(Array.new(3) { calls.pop }).to eq([0, 1, 2])
  end

  it "fail only the producer whose callable always ends its thread" do
    other = direct(producer_id: "other", headers: { "x" => -> { "1" } })
    producer = direct(headers: { "x" => -> { Thread.exit } })
    producer << { lost: 1 }
    error = failure { producer.flush }
    expect(error.cause).to be_a(ThreadError).and have_attributes(message: /ended the callback thread/)
    expect(error.undelivered).to eq([{ lost: 1 }])
    other.append!("other".to_json)
    expect(stored).to eq(["other"])
  end

  it "are started in a trap handler too" do
    threads.each(&:kill).each(&:join)
    previous = trap("USR2") do
      producer = direct(headers: { "x" => -> { "1" } }, on_delivery: ->(*) { calls << 1 })
      producer << "1"
      producer.flush
    end
    Process.kill("USR2", Process.pid)
    expect(calls.pop).to eq(1)
  ensure
    trap("USR2", previous || "DEFAULT")
  end

  describe "that cannot be started" do
    def run(program)
      preamble = "producer = DurableStreams::Producer.new(url: ARGV[0], content_type: :json, producer_id: 'w', " \
                 "headers: { 'x' => -> { $callable.call } })\n"
      ChildProcess.program(preamble + program, stream.url).output
    end

    it "fail the requests that need them" do
      output = run(<<~RUBY)
        $callable = -> { ThreadGroup::Default.freeze && Thread.exit }
        producer << 1
        begin
          producer.flush
        rescue DurableStreams::ProducerError => e
          p e.cause.class, e.undelivered
        end
      RUBY
      expect(output).to match(/another one cannot be started: .*frozen/).and match(/^ThreadError\n\[1\]$/)
    end

    it "serve another producer with an existing thread" do
      output = run(<<~RUBY)
        other = DurableStreams::Producer.new(url: ARGV[0], content_type: :json, producer_id: 'v', linger_ms: 60_000,
                                             headers: { 'x' => -> { '1' } })
        other << 2
        ThreadGroup::Default.freeze
        $callable = -> { '1' }
        producer.append!('1')
        other.flush
        puts "through"
      RUBY
      expect(output).to match(/cannot start another thread.*values.*frozen/).and match(/^through$/)
      expect(stored).to eq([1, 2])
    end

    it "let appends continue while the others are busy, with one warning until one can be started" do
      output = run(<<~RUBY)
        entered, gate = Queue.new, Queue.new
        $callable = -> { entered << true && gate.pop }
        fail_to_start = Module.new { def new(*) = $limited ? raise(ThreadError, "the limit") : super }
        Thread.singleton_class.prepend(fail_to_start)
        producer << 1
        entered.pop
        options = { url: ARGV[0], content_type: :json, linger_ms: 60_000, on_delivery: ->(*) {} }
        DurableStreams::Producer.new(**options, producer_id: "with a callback").append!("2")
        $limited = true
        other = DurableStreams::Producer.new(**options, producer_id: "other", headers: { "x" => -> { "1" } })
        10.times { |i| other << (3 + i) }
        $limited = false
        other.flush
        puts "through"
        gate.close
      RUBY
      expect(output.lines.grep(/cannot start another thread/).size).to eq(1)
      expect(output).to match(/^through$/)
      expect(stored).to match_array(1..12)
    end
  end
end
