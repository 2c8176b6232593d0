# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "streams" do
  include_context "with streams in memory"

  it "can be seeded" do
    mock.seed_stream("/events", [{ id: 1 }])
    mock.seed_stream("https://host/events", [{ id: 2 }])
    mock.seed_stream("/log", ["a"], content_type: :text)
    expect(DurableStreams.read("/events").to_a).to eq([{ "id" => 1 }, { "id" => 2 }])
    expect(DurableStreams.stream("/log").read.first).to have_attributes(data: "a", up_to_date?: true)
  end

  it "can be seeded with Strings only if they are not JSON" do
    [[["a", 1], "Integer"], [[nil], "NilClass"]].each do |messages, type|
      expect { mock.seed_stream("/log", messages, content_type: :text) }
        .to raise_error(ArgumentError, "messages of a stream of text/plain must be Strings, got #{type}")
    end
    expect(mock.streams).to be_empty
  end

  it "are found with and without the path of the base_url" do
    DurableStreams.configure { |config| config.base_url = "https://streams.example.com/v1" }
    mock.on(:post, "/fails", status: 400)
    mock.seed_stream("/orders", [1])
    DurableStreams.append("/orders", 2)
    expect(%w[/orders orders /v1/orders https://h/v1/orders].map { |path| described_class.messages_for(path) })
      .to all(eq([1, 2]))
    expect(%w[/v1/v1/orders https://h/orders /v1].map { |path| described_class.messages_for(path) }).to all(be_empty)
    expect(mock.streams.keys).to eq(["/v1/orders"])
    expect { DurableStreams.append("/fails", 1) }.to raise_error(DurableStreams::BadRequestError)
    expect(described_class).to have_made_request(:post).to("/fails")
  end

  describe "with install!(strict: true)" do
    before { described_class.install!(strict: true) }

    it "respond with 404 until they are created" do
      calls = [->(stream) { stream.append(1) }, ->(stream) { stream.read_json.to_a }, ->(stream) { stream.read.to_a },
               ->(stream) { stream.read_json(live: :sse).first }, ->(stream) { stream.close_stream },
               ->(stream) { stream.append("1", seq: "1") }]
      [nil, :json].product(calls).each do |type, call|
        missing = DurableStreams.stream("/missing", content_type: type)
        expect { call.call(missing) }.to raise_error(DurableStreams::StreamNotFoundError)
      end
      expect { DurableStreams::Producer.open(url: "/missing", producer_id: "p") { |producer| producer << 1 } }
        .to raise_error(DurableStreams::StreamNotFoundError)
      expect(mock.streams).to be_empty
    end

    it "exist once they are created or seeded" do
      stream.append(1)
      mock.seed_stream("/seeded", [2])
      expect([stream, DurableStreams.stream("/seeded")].map(&:read_all)).to eq([[1], [2]])
    end

    it "are strict until the next install!" do
      described_class.clear!
      expect { DurableStreams.append("/a", 1) }.to raise_error(DurableStreams::StreamNotFoundError)
      described_class.install!
      expect(DurableStreams.append("/a", 1).next_offset).to be_a(String)
    end
  end

  it "need not be created, as in the reference client" do
    expect(DurableStreams.stream("/a", content_type: :json).read_all).to eq([])
    expect(DurableStreams.read("/a").to_a).to eq([])
    expect(DurableStreams.stream("/a")).not_to be_exists
    DurableStreams.append("/a", { n: 1 })
    DurableStreams.stream("/a", content_type: :json) << { n: 2 }
    expect(DurableStreams.stream("/a").read_all).to eq([{ "n" => 1 }, { "n" => 2 }])
    expect { DurableStreams.append("/b", "", content_type: :text) }.to raise_error(DurableStreams::BadRequestError)
    expect(DurableStreams.stream("/b")).not_to be_exists
    DurableStreams.append("/b", "text", content_type: :text)
    expect(DurableStreams.stream("/b").read.first.data).to eq("text")
  end

  it "can be changed through `streams`, as in the reference client" do
    mock.streams["/a"] = [{ n: 1 }]
    handle = DurableStreams.stream("/a")
    expect(handle.read_all).to eq([{ "n" => 1 }])
    handle << { n: 2 }
    mock.streams["/a"] << { n: 3 }
    expect(handle.read_all.map { |item| item["n"] }).to eq([1, 2, 3])
    handle.close_stream
    mock.streams["/a"] = [4]
    expect(handle.head).to be_closed
    expect(handle.read_all).to eq([4])
    mock.streams.delete("/a")
    expect(handle).not_to be_exists
    expect(handle.read_all).to eq([])
    expect(handle.append(5).next_offset).to eq(handle.head.next_offset)
    mock.streams.clear
    expect(described_class.messages_for("/a")).to eq([])
  end

  it "are new after clear!" do
    stream.close_stream
    described_class.clear!
    mock.streams["/events"] = [1]
    expect(stream.head).not_to be_closed
  end

  ["/with space", "/caf\u00e9", "/a/../b", "/with%20space"].each do |path|
    it "have the same path in every notation (#{path})" do
      stream = DurableStreams.create(path, content_type: :json)
      stream << 1
      mock.seed_stream(path, [2])
      expect(described_class.messages_for(path)).to eq([1, 2])
      expect(stream.read_all).to eq([1, 2])
      expect(stream.fork("/fork").read_all).to eq([1, 2])
      expect(described_class).to have_made_request(:post).to(path)
      mock.on(:post, path, status: 400)
      expect { stream << 3 }.to raise_error(DurableStreams::BadRequestError)
    end
  end

  it "raise the same errors as with a server" do
    missing = DurableStreams.stream("/missing", content_type: :json)
    [-> { missing.head }, -> { missing.delete }, -> { missing.fork("/fork") }].each do |call|
      expect(&call).to raise_error(DurableStreams::StreamNotFoundError)
    end
    expect { stream.create(content_type: :text) }.to raise_error(DurableStreams::StreamExistsError)
    expect(stream.create(content_type: :json)).to be(stream)
    expect { DurableStreams.stream("/events", content_type: :text).append("x") }
      .to raise_error(DurableStreams::ContentTypeMismatchError)
    expect { stream.read_json(offset: "12").to_a }.to raise_error(DurableStreams::BadRequestError)
    stream.append(1, seq: "b")
    %w[a b].each { |seq| expect { stream.append(2, seq: seq) }.to raise_error(DurableStreams::SeqConflictError) }
  end

  it "can be closed and deleted" do
    expect(stream.close_stream(data: 7).final_offset).to eq(stream.head.next_offset)
    expect(stream.close_stream.final_offset).to eq(stream.head.next_offset)
    expect(stream.head).to be_closed
    expect { stream.append(1) }.to raise_error(DurableStreams::StreamClosedError) { |error|
      expect(error.final_offset).to eq(stream.head.next_offset)
    }
    expect { stream.close_stream(data: 1) }.to raise_error(DurableStreams::StreamClosedError)
    expect(stream.read_json(live: :long_poll).to_a).to eq([7])
    stream.delete
    expect(stream.exists?).to be(false)
    [-> { stream.read_all }, -> { stream.append(1) }, -> { stream.delete }].each do |call|
      expect(&call).to raise_error(DurableStreams::StreamNotFoundError)
    end
    expect(stream.create.append(1).next_offset).to eq(stream.head.next_offset)
  end

  it "can be created with content and expiry, created closed, and forked" do
    source = DurableStreams.create("/source", content_type: :json, body: 1, ttl_seconds: 9)
    offset = source.head.next_offset
    source << 2 << 3
    expect(source.head).to have_attributes(ttl_seconds: 9, content_type: "application/json")
    expect(source.fork("/fork", offset: offset, sub_offset: 1).read_all).to eq([1, 2])
    expect(source.fork("/all").read_all).to eq([1, 2, 3])
    text = DurableStreams.create("/text", content_type: :text, body: "abc", closed: true)
    expect(text.fork("/ab", offset: "-1", sub_offset: 2).read.body).to eq("ab")
    expect(text.head).to be_closed
    expect { text.fork("/c", offset: "7") }.to raise_error(DurableStreams::BadRequestError)
    expect { DurableStreams.stream("/no").fork("/d") }.to raise_error(DurableStreams::StreamNotFoundError)
  end

  it "store bytes unchanged and text as UTF-8" do
    bytes = DurableStreams.create("/bytes", content_type: :bytes)
    bytes << "\xff\x00".b << "é"
    expect(described_class.messages_for("/bytes")).to eq(["\xff\x00".b, "é"])
    expect(bytes.read.body).to eq("\xff\x00é".b)
  end

  it "can be read as bytes from their end" do
    stream << 1
    reader = stream.read_bytes
    expect([reader.body, reader.body]).to eq(["[1]", "[]"])
    stream << 2
    expect(reader.body).to eq("[2]")
  end
end
