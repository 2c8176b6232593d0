# frozen_string_literal: true

require "durable_streams/testing"
require "rack"

RSpec.describe DurableStreams::EventStream do
  let(:stream) { DurableStreams.stream("http://127.0.0.1:9/s", content_type: :json) }

  it "is loaded when it is used" do
    loaded = "$LOADED_FEATURES.grep(/event_stream/).size"
    ["", "require 'durable_streams/event_stream';"].each do |before|
      program = "#{before} puts #{loaded}; DurableStreams::EventStream.name; puts #{loaded}"
      output, = ChildProcess.outcome(program)
      expect(output.split.map(&:to_i)).to match([before.empty? ? 0 : be_positive, be_positive])
    end
  end

  it "raises ArgumentError for arguments that are not what they should be" do
    { { heartbeat: 0 } => /heartbeat must be a number of seconds above 0, got 0 \(Integer\)/,
      { heartbeat: "5" } => /heartbeat must be a number .* got "5" \(String\)/,
      { offset: 1 } => /offset must be a String, got Integer/,
      { last_event_id: :a } => /last_event_id must be a String, got Symbol/,
      { offset: "a/b" } => %r{offset must be an offset or the id of an event, got "a/b" \(String\)},
      { last_event_id: "a\nb" } => /last_event_id must be an offset or the id/ }.each do |options, message|
        expect { described_class.new(stream, **options) }.to raise_error(ArgumentError, message)
      end
    expect { described_class.new("/s") }.to raise_error(ArgumentError, /stream must be a DurableStreams::Stream/)
    expect { described_class.app }.to raise_error(ArgumentError, /requires a block/)
    expect { described_class.app(heartbeat: -1) { stream } }.to raise_error(ArgumentError, /heartbeat/)
  end

  it "responds with 404 if the application's block returns nil, and raises if it returns anything but a stream" do
    env = { "REQUEST_METHOD" => "GET", "QUERY_STRING" => "" }
    expect(described_class.app { nil }.call(env).first).to eq(404)
    expect { described_class.app { "/s" }.call(env) }
      .to raise_error(ArgumentError, /the block's value must be a Stream, or nil for 404, got String/)
  end

  it "responds to a HEAD request without a body, as Rack::Lint demands" do
    response = Rack::MockRequest.new(Rack::Lint.new(described_class.app { stream })).request("HEAD", "/")
    expect([response.status, response["allow"], response.body]).to eq([405, "GET", ""])
  end

  it "begins at the offset if the Last-Event-ID is missing or empty" do
    [nil, ""].each do |id|
      expect(described_class.new(stream, offset: "5", last_event_id: id).inspect).to include('offset="5"')
    end
    expect(described_class.new(stream, offset: "5", last_event_id: "7/2").inspect).to include('offset="7"')
  end

  it "yields the event end alone to a browser that has it" do
    events = described_class.new(stream, last_event_id: "7/end")
    expect([events.ended?, events.each.to_a]).to eq([true, ["event: end\nid: 7/end\ndata: 7\n\n"]])
  end

  it "reads streams in memory, so that applications can test it" do
    DurableStreams::Testing.install!
    stream = DurableStreams.create("/events", content_type: :json)
    stream.append({ "a" => 1 })
    stream.close_stream
    status, _, body = described_class.app { stream }.call({ "REQUEST_METHOD" => "GET" })
    expect([status, body.each.to_a.join]).to match([200, /^data: {"a":1}\n\nevent: end$/])
  ensure
    DurableStreams::Testing.reset!
  end

  describe described_class::Encoder do
    def batch(*items, offset: "5")
      DurableStreams::JsonBatch.new(items: items, next_offset: offset)
    end

    def parts(encoder, batch)
      parts = []
      encoder.encode(batch) { |part| parts << part }
      parts
    end

    it "counts on if a batch ends without a new offset, as in the middle of a huge one" do
      encoder = described_class::Items.new("5", 1)
      ids = [batch(1, 2), batch(3), batch(4, offset: "6")].flat_map { |one| parts(encoder, one).join.scan(/^id: (.*)/) }
      expect(ids.flatten).to eq(["5/2", "5/3", "6"])
    end

    it "leaves out what the browser has, over several batches" do
      encoder = described_class::Items.new("0", 3)
      expect([parts(encoder, batch(1, 2)), encoder.position]).to eq([[], "id: 5/1\n\n"])
      expect(parts(encoder, batch(3, 4, 5, offset: "6"))).to eq(["id: 5/2\ndata: 4\n\nid: 6\ndata: 5\n\n"])
    end

    it "splits no character and no CR LF of text, wherever the chunks end" do
      text = "aé\r\n€😀\r\rz"
      chunks = text.bytes.each_with_index.map do |byte, index|
        DurableStreams::ByteChunk.new(data: byte.chr, next_offset: "o#{index + 1}")
      end
      events = chunks.each_with_object(described_class::Chunks.new("o0", 0)).flat_map { |one, all| parts(all, one) }
      expect(events.map { |event| event[/data: (.*)\n\n/m, 1] })
        .to eq(["a", "é", "\ndata: ", "€", "😀", "\ndata: ", "\ndata: z"])
      expect(events.map { |event| event[/id: (.*)/, 1] }).to eq(%w[o1 o3 o5 o8 o12 o12/1 o15])
    end

    it "writes a large batch in parts of about 64 KiB" do
      sizes = parts(described_class::Items.new("0", 0), batch(*["x" * 1_000] * 200)).map(&:bytesize)
      expect(sizes[0...-1]).to all(be_between(65_536, 67_000))
      expect(sizes.sum).to be > 200_000
    end

    it "writes a number that is no Float as one event that is not JSON" do
      expect(parts(described_class::Items.new("0", 0), batch(Float::INFINITY, 1)).join)
        .to eq("id: 0/1\ndata: Infinity\n\nid: 5\ndata: 1\n\n")
    end
  end
end
