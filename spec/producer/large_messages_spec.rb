# frozen_string_literal: true

# Messages of about a batch's size are sent from where Ruby has them.
RSpec.describe DurableStreams::Producer, "with large messages", :producer do
  let(:size) { 1_048_576 }

  def stream_type
    "application/octet-stream"
  end

  # Everything that one can do to a String, and what one can leave it to.
  changes = [
    :clear.to_proc, :freeze.to_proc, :upcase!.to_proc, :itself.to_proc, :reverse!.to_proc,
    ->(string) { string << "more" }, ->(string) { string.setbyte(0, 33) }, ->(string) { string.replace("other") },
    ->(string) { string.slice!(0, 1_000_000) }, ->(string) { string[10, 100] = "" },
    ->(string) { StringIO.new("x" * string.bytesize).read(string.bytesize, string) }
  ].freeze

  # @return [String] a large message that is different from that of any other number
  def large(number)
    (number.to_s << " is the number of this message. ").b.ljust(64, ".") * (size / 64)
  end

  # @return [String] so many such messages, one after the other
  def content(count)
    count.times.each_with_object(String.new) { |number, content| content << large(number) }
  end

  # @return [String] what is in the stream
  def stored
    stream.read_bytes.body
  end

  # Has the first request wait at the gate, so that all that follows is still to be sent; then lets all pass.
  def while_blocked(producer)
    block_append(:go)
    producer << "first"
    faults.wait_until_waiting(:go)
    yield
    faults.open(:go)
    producer.flush
  end

  # @return [Integer] how many Strings there are of a length that no other has
  def alive
    Thread.new { ObjectSpace.each_object(String).count { |string| string.bytesize == size } }.value
  end

  it "sends them as they were when they were appended, whatever becomes of the Strings" do
    producer = proxied(content_type: :bytes, linger_ms: 0)
    while_blocked(producer) do
      strings = Array.new(changes.size) { |number| large(number) }
      strings.each { |string| producer << string }
      changes.zip(strings) { |change, string| change.call(string) }
    end
    expect(stored == "first#{content(changes.size)}").to be(true)
  end

  it "keeps the order among small ones, and takes parts of Strings, all encodings and subclasses" do
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

  it "takes one with append!, and as the last of a stream" do
    producer = direct(linger_ms: 1)
    producer.append!(large(1))
    producer.close_stream(data: large(2))
    expect(stored == large(1) + large(2)).to be(true)
  end

  it "gives back what was not delivered as it was appended" do
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

  context "that nobody holds" do
    let(:size) { 1_048_576 + 64 } # of no other String

    it "keeps them until they are acknowledged, and no longer" do
      producer = proxied(content_type: :bytes, linger_ms: 0)
      while_blocked(producer) do
        Thread.new { 20.times { |number| producer << large(number) } }.join
        MovingObjects.compact if GC.respond_to?(:verify_compaction_references)
        Thread.new { GC.start }.join
        # Whatever was freed is written over.
        Array.new(50) { "\0" * size }.clear
      end
      expect(stored == "first#{content(20)}").to be(true)
      1_000.times { Thread.new { GC.start }.join if alive > 10 }
      expect(alive).to be <= 10
    end

    it "does not keep them in a forked child", if: Process.respond_to?(:fork) do
      producer = proxied(content_type: :bytes, linger_ms: 0)
      while_blocked(producer) do
        Thread.new { 20.times { |number| producer << large(number) } }.join
        expect(alive).to be >= 20
        left = ChildProcess.run do
          1_000.times { Thread.new { GC.start }.join if alive > 10 }
          alive
        end
        expect(left).to be <= 10
      end
      expect(stored == "first#{content(20)}").to be(true)
    end
  end

  it "sends a large append of a stream's as it was when it was appended" do
    large = large(0) * 16 # more than the system takes of a request that nobody reads
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

  it "sends them where Ruby frees all objects at the end of the process" do
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
