# frozen_string_literal: true

RSpec.describe DurableStreams::Producer, "and the garbage collector", :producer do
  # Collects garbage until the block is true. One collection may miss objects whose addresses are still on a stack.
  def collect_until
    1_000.times do
      return if yield

      Thread.new { GC.start }.join
    end
    raise "the condition is still false after 1,000 collections"
  end

  # Creates unreferenced producers, in a thread, so that its stack does not refer to them afterwards.
  def drop(count, **options)
    target = stream
    Thread.new do
      count.times do |i|
        producer = described_class.new(stream: target, producer_id: "dropped #{i}", **options)
        yield producer, i
      end
      nil
    end.join
    # Overwrites places on the stack that may still refer to the last one.
    Array.new(3) { described_class.new(stream: target, producer_id: "blocked") }
  end

  # Creates producers that only their own callbacks and callables refer to, and expects that they are freed.
  def expect_freed(name)
    before = ObjectSpace.each_object(described_class).count
    drop(50) do |_, i|
      producer = nil
      producer = described_class.new(stream: stream, producer_id: "#{name} #{i}", on_delivery: ->(*) { producer },
                                     headers: { "x" => -> { producer && "1" } })
      yield producer
    end
    collect_until { ObjectSpace.each_object(described_class).count < before + 20 }
  end

  # A new class for each example, so that its instances can be counted.
  let(:marker) do
    Class.new do
      def to_json(*)
        "1"
      end
    end
  end

  it "delivers the messages of an unreferenced producer" do
    blocked = drop(10, linger_ms: 3_600_000) { |producer, i| producer << i }
    collect_until { stored.size >= 9 }
    blocked.each(&:close)
    expect(stored - (0..9).to_a).to eq([])
  end

  it "delivers the messages of an unreferenced producer with callables and callbacks" do
    notices = Queue.new
    delivered = ->(_, count) { notices << count }
    drop(5, linger_ms: 0, headers: { "x" => -> { "1" } }, on_delivery: delivered) do |producer, i|
      producer << { n: i }
    end
    GC.start
    expect(Array.new(5) { notices.pop }).to eq([1] * 5)
  end

  it "frees closed producers, although a callback or callable refers to them" do
    expect_freed("closed") do |producer|
      producer << 1
      producer.close
    end
  end

  it "frees idle producers that are not closed, although a callback or callable refers to them" do
    expect_freed("idle") { |producer| producer.append!(1) }
  end

  it "does not free callbacks and callables that are still needed" do
    notices = Queue.new
    faults.on("POST", path) do |reply|
      reply.wait("gate", patient: true)
      reply.forward(server_url).send_response
    end
    url = faults.url(path)
    dropped = Thread.new do
      10.times do |i|
        producer = nil
        producer = described_class.new(url: url, producer_id: "needed #{i}", linger_ms: 0, max_in_flight: 1,
                                       max_batch_items: 1, headers: { "x" => -> { "#{i} #{producer.epoch}" } },
                                       on_delivery: ->(result, _) { notices << [i, result.seq, producer.epoch] })
        2.times { producer << i }
      end
      nil
    end
    dropped.join
    faults.wait_until_waiting("gate", 10)
    10.times { Thread.new { GC.start }.join }
    Array.new(10_000) { ["in the places of what was freed"] }
    faults.open("gate")
    expect(Timeout.timeout(30) { Array.new(20) { notices.pop } }).to match_array([*0..9].product([0, 1], [0]))
    sent_values = faults.requests(method: "POST", path: path).map { |request| request.header("x") }
    expect(sent_values).to match_array([*0..9, *0..9].map { |i| "#{i} 0" })
  end

  it "stores appended objects for `undelivered`, and frees them once they are acknowledged" do
    producer = direct(linger_ms: 3_600_000, max_batch_items: 10_000)
    Thread.new { 5_000.times { producer << marker.new } }.join
    GC.start
    expect(ObjectSpace.each_object(marker).count).to eq(5_000)
    producer.flush
    collect_until { ObjectSpace.each_object(marker).count < 100 }
  end

  it "frees acknowledged objects without a flush, after some appends" do
    delivered = Queue.new
    producer = direct(linger_ms: 3_600_000, max_batch_items: 5_000, on_delivery: ->(_, count) { delivered << count })
    Thread.new { 5_000.times { producer << marker.new } }.join
    expect(delivered.pop).to eq(5_000)
    Thread.new { 1_100.times { producer << [1] } }.join
    collect_until { ObjectSpace.each_object(marker).count < 100 }
  end

  it "works under GC.stress" do
    ended = ChildProcess.program(<<~RUBY, stream.url, timeout: 300)
      producer = DurableStreams::Producer.new(url: ARGV[0], producer_id: "p", max_batch_items: 3, on_delivery: ->(*) {},
                                              headers: { "x" => -> { "1" } })
      GC.stress = true
      10.times { |i| producer << { "i" => i } }
      producer.close
      GC.stress = false
      print "fine"
    RUBY
    expect(ended.output).to eq("fine")
    expect(stored).to eq(Array.new(10) { |i| { "i" => i } })
  end
end
