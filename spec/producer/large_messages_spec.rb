# frozen_string_literal: true

# Messages of about a batch's size are pinned strings: their bytes are sent without copying.
RSpec.describe DurableStreams::Producer, "with large messages", :producer do
  let(:size) { 1_048_576 }

  def stream_type
    "application/octet-stream"
  end

  # Changes of a String after its append. `itself` is no change.
  changes = [
    :clear.to_proc, :freeze.to_proc, :upcase!.to_proc, :itself.to_proc, :reverse!.to_proc,
    ->(string) { string << "more" }, ->(string) { string.setbyte(0, 33) }, ->(string) { string.replace("other") },
    ->(string) { string.slice!(0, 1_000_000) }, ->(string) { string[10, 100] = "" },
    ->(string) { StringIO.new("x" * string.bytesize).read(string.bytesize, string) }
  ].freeze

  # @return [String] a large message that differs for every number
  def large(number)
    (number.to_s << " is the number of this message. ").b.ljust(64, ".") * (size / 64)
  end

  # @return [String] `count` of these messages, concatenated
  def content(count)
    count.times.each_with_object(String.new) { |number, content| content << large(number) }
  end

  # @return [String] the stream's content
  def stored
    stream.read_bytes.body
  end

  # Blocks the first request while the block runs, so that later messages are not sent yet. Then flushes.
  def while_blocked(producer)
    block_append(:go)
    producer << "first"
    faults.wait_until_waiting(:go)
    yield
    faults.open(:go)
    producer.flush
  end

  # @return [Integer] how many of these messages are alive. No other Strings have their length
  def alive
    Thread.new { ObjectSpace.each_object(String).count { |string| string.bytesize == size } }.value
  end

  # Collects garbage until few messages are alive. Counting them takes long in a process with many Strings.
  # @return [Integer] how many are alive then
  def remaining
    1_000.times do
      count = alive
      return count if count <= 10

      Thread.new { GC.start }.join
    end
    alive
  end

  it "sends them as they were at their append, although the Strings change" do
    producer = proxied(content_type: :bytes, linger_ms: 0)
    while_blocked(producer) do
      strings = Array.new(changes.size) { |number| large(number) }
      strings.each { |string| producer << string }
      changes.zip(strings) { |change, string| change.call(string) }
    end
    expect(stored == "first#{content(changes.size)}").to be(true)
  end

  it "preserves their order among small ones, and accepts substrings, all encodings and subclasses" do
    whole = large(1)
    messages = ["a", whole, "b", "c", "#{whole}d", whole.byteslice(7..), large(2).force_encoding("UTF-16LE"),
                Class.new(String).new(large(3)), large(4).freeze, "e", "é" * (size / 2)]
    producer = direct(linger_ms: 1)
    messages.each { |message| producer << message }
    producer.flush
    expect(stored == messages.map(&:b).join).to be(true)
    expect(messages[1]).to equal(whole)
    expect(whole == large(1)).to be(true)
  end

  it "sends them by append! and close_stream" do
    producer = direct(linger_ms: 1)
    producer.append!(large(1))
    producer.close_stream(data: large(2))
    expect(stored == large(1) + large(2)).to be(true)
  end

  it "returns undelivered messages as they were at their append" do
    producer = proxied(content_type: :bytes, linger_ms: 0)
    faults.next("POST", path) { |reply| reply.wait(:go).respond(400) }
    strings = [large(1), large(2).force_encoding("UTF-8"), large(3).force_encoding("UTF-16LE")]
    copies = strings.map { |string| string.dup << "" }
    strings.each { |string| producer << string }
    strings.each(&:clear)
    faults.open(:go)
    undelivered = failure { producer.flush }.undelivered
    expect(undelivered == copies).to be(true)
    expect(undelivered.map(&:encoding)).to eq([Encoding::UTF_8, Encoding::UTF_8, Encoding::UTF_16LE])
  end

  context "without other references" do
    let(:size) { 1_048_576 + 64 } # no other String has this size

    it "pins them until they are acknowledged, and then frees them" do
      producer = proxied(content_type: :bytes, linger_ms: 0)
      while_blocked(producer) do
        Thread.new { 20.times { |number| producer << large(number) } }.join
        MovingObjects.compact if GC.respond_to?(:verify_compaction_references)
        Thread.new { GC.start }.join
        # Overwrites freed memory.
        Array.new(50) { "\0" * size }.clear
      end
      expect(stored == "first#{content(20)}").to be(true)
      expect(remaining).to be <= 10
    end

    it "frees them in a forked child", if: Process.respond_to?(:fork) do
      producer = proxied(content_type: :bytes, linger_ms: 0)
      while_blocked(producer) do
        Thread.new { 20.times { |number| producer << large(number) } }.join
        expect(alive).to be >= 20
        expect(ChildProcess.run { remaining }).to be <= 10
      end
      expect(stored == "first#{content(20)}").to be(true)
    end
  end

  it "sends the data of Stream#append as they were at the append" do
    large = large(0) * 16 # more than the socket buffers hold while the server does not read
    faults.next("POST", path, read_body: false) { |reply| reply.wait(:go).read_body.forward(server_url).send_response }
    string = large.dup << ""
    handle = DurableStreams::Client.new(base_url: faults.url).stream(path, content_type: :bytes)
    appending = Thread.new { handle.append(string) }
    faults.wait_until_waiting(:go)
    string.clear
    faults.open(:go)
    appending.join
    expect(stored == large).to be(true)
  end

  it "sends them although Ruby frees all objects at the end of the process (RUBY_FREE_AT_EXIT)" do
    program = <<~RUBY
      stream = DurableStreams::Stream.new(ARGV[0], content_type: :bytes)
      DurableStreams::Producer.open(stream: stream, producer_id: "p") { |producer| producer << "x" * 1_048_576 }
      puts "fine"
    RUBY
    ended = ChildProcess.program(program, stream.url, environment: { "RUBY_FREE_AT_EXIT" => "1" })
    expect(ended.output.lines.last).to eq("fine\n")
    expect(stored == "x" * 1_048_576).to be(true)
  end
end
