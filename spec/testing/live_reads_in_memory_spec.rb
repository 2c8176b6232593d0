# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "live reads" do
  include_context "with streams in memory"

  %i[long_poll sse auto].each do |live|
    it "wait for new messages and end when the stream is closed (#{live})" do
      stream << 1
      seen = Thread::Queue.new
      reading = in_thread { stream.read_json(live: live).each { |item| seen << item } && :ended }
      expect(seen.pop).to eq(1)
      stream << [2, "\n"]
      expect(seen.pop).to eq([2, "\n"])
      stream.close_stream(data: 3)
      expect(seen.pop).to eq(3)
      expect(reading.value).to eq(:ended)
    end

    it "wait for a stream to be created (#{live})" do
      seen = Thread::Queue.new
      handle = DurableStreams.stream("/events")
      reading = in_thread { handle.read_json(live: live).each { |item| seen << item } && :ended }
      Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
      DurableStreams.create("/events", content_type: :json, body: 1)
      expect(seen.pop).to eq(1)
      DurableStreams.stream("/events").close_stream
      expect(reading.value).to eq(:ended)
    end

    it "can be closed while they wait (#{live})" do
      reader = stream.read(live: live)
      seen = Thread::Queue.new
      reading = in_thread { reader.each { |batch| seen << batch } && :ended }
      expect(seen.pop).to have_attributes(items: [], up_to_date?: true)
      reader.close
      expect(reading.value).to be_truthy
      expect(stream.append(1).next_offset).to eq(stream.head.next_offset)
    end

    it "raise StreamNotFoundError when the stream is deleted (#{live})" do
      seen = Thread::Queue.new
      reading = in_thread { stream.read(live: live).each { |batch| seen << batch } }
      seen.pop
      stream.delete
      expect { reading.value }.to raise_error(DurableStreams::StreamNotFoundError)
    end

    it "raise StreamNotFoundError when the streams are cleared, and read none of the next test (#{live})" do
      seen = Thread::Queue.new
      reading = in_thread { stream.read(live: live).each { |batch| seen << batch } }
      seen.pop
      Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
      described_class.clear!
      DurableStreams.append("/events", 1)
      expect { reading.value }.to raise_error(DurableStreams::StreamNotFoundError)
    end
  end

  it "send a new request when a missing stream is created as a stream of bytes" do
    seen = Thread::Queue.new
    handle = DurableStreams.stream("/bytes", content_type: :bytes)
    reading = in_thread { handle.read(live: :sse).each { |chunk| seen << chunk.data } }
    Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
    handle.create(body: "\xFF".b, closed: true)
    reading.join
    expect(Array.new(seen.size) { seen.pop }.last).to eq("\xFF".b)
  end

  it "do not poll while nothing happens" do
    seen = Thread::Queue.new
    reading = in_thread { stream.read(live: :long_poll).each { |batch| seen << batch } }
    seen.pop
    Thread.pass until described_class.requests.last[:query]["live"]
    made = described_class.requests.size
    expect(reading.join(0.2)).to be_nil
    expect(described_class.requests.size).to eq(made)
    reading.kill.join
  end

  it "yield bytes and text by SSE" do
    bytes = DurableStreams.create("/bytes", content_type: :bytes, body: "\x00\xff\r\n")
    expect(bytes.read(live: :sse).first.data).to eq("\x00\xff\r\n".b)
    text = DurableStreams.create("/text", content_type: :text, body: "a\nb")
    expect(text.read(live: :sse).first.data).to eq("a\nb")
  end
end
