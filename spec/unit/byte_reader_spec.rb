# frozen_string_literal: true

require "stringio"
require_relative "../support/scripted_stream"

RSpec.describe DurableStreams::ByteReader do
  let(:stream) { text_stream("text/plain") }
  let(:reader) { described_class.new(stream) }

  def text_stream(content_type)
    ScriptedStream.new({ parts: ["ab", "\xC3"], next_offset: "3" },
                       { parts: ["\xA9", "d"], next_offset: "5", up_to_date: true }, content_type: content_type)
  end

  it "reads text from a text stream and bytes from others" do
    reader
    expect(stream.native.opened_with).to include(format: :text)
    other = text_stream("application/octet-stream")
    described_class.new(other)
    expect(other.native.opened_with)
      .to eq(format: :bytes, live: :off, offset: "-1", cursor: nil, retry_policy: nil, stop: nil)
  end

  it "yields chunks" do
    chunks = reader.to_a
    expect(chunks).to all(be_a(DurableStreams::ByteChunk))
    expect(chunks.map { |chunk| [chunk.data.b, chunk.offset] }).to eq([["ab\xC3".b, "3"], ["\xA9d".b, "5"]])
    expect(reader).to have_attributes(next_offset: "5", up_to_date?: true)
  end

  it "yields chunks as its items too" do
    expect(reader.each_item.map(&:data).join).to eq("abéd")
  end

  it "continues after the last chunk when the block breaks" do
    expect(reader.first.offset).to eq("3")
    expect(reader.map(&:offset)).to eq(["5"])
  end

  it "returns the rest as one String" do
    expect(reader.body).to eq("abéd").and have_attributes(encoding: Encoding::UTF_8)
    expect(described_class.new(text_stream("image/png")).body)
      .to eq("abéd".b).and have_attributes(encoding: Encoding::BINARY)
    expect(described_class.new(text_stream("image/png")).text).to eq("abéd")
  end

  it "yields text that is not valid UTF-8 as binary" do
    stream = ScriptedStream.new({ parts: ["\xFF"], next_offset: "1" }, content_type: "text/plain")
    expect(described_class.new(stream).body).to eq("\xFF".b).and have_attributes(encoding: Encoding::BINARY)
  end

  describe "#copy_to" do
    it "writes the parts as they arrive" do
      written = []
      io = Object.new
      io.define_singleton_method(:write) { |part| written << part }
      expect(reader.copy_to(io)).to eq(5)
      expect(written.map(&:b)).to eq(["ab".b, "\xC3".b, "\xA9".b, "d".b])
      expect(reader.next_offset).to eq("5")
    end

    it "copies a part whose write failed again in the next call" do
      io = Object.new
      io.define_singleton_method(:write) { |part| raise Errno::ENOSPC if part == "d" }
      expect { reader.copy_to(io) }.to raise_error(Errno::ENOSPC)
      expect(reader.next_offset).to eq("3")
      rest = StringIO.new
      reader.copy_to(rest)
      expect(rest.string).to eq("d")
      expect(reader.next_offset).to eq("5")
    end

    it "yields the rest of a response as a chunk afterwards" do
      io = Object.new
      io.define_singleton_method(:write) { |part| raise Errno::ENOSPC if part == "\xC3" }
      expect { reader.copy_to(io) }.to raise_error(Errno::ENOSPC)
      expect(reader.first.data.b).to eq("\xC3".b)
    end

    { ["\xFF caf\u00e9".b, "caf\u00e9"] => ["\xFF caf\u00e9caf\u00e9".b, Encoding::BINARY],
      ["caf\xC3".b, "\xA9 ok".b] => ["caf\u00e9 ok", Encoding::UTF_8] }.each do |parts, (whole, encoding)|
      it "leaves the rest of a response to a chunk that is labelled as a whole (#{encoding})" do
        reader = described_class.new(ScriptedStream.new({ parts: parts.map(&:dup), next_offset: "1" },
                                                        content_type: "text/plain"))
        io = Object.new
        io.define_singleton_method(:write) { |_| raise Errno::ENOSPC }
        expect { reader.copy_to(io) }.to raise_error(Errno::ENOSPC)
        expect(reader.first.data).to eq(whole).and have_attributes(encoding: encoding)
      end
    end
  end

  it "supports external enumeration" do
    expect([reader.peek.offset, reader.next.offset, reader.next.offset]).to eq(%w[3 3 5])
    expect { reader.next }.to raise_error(StopIteration)
  end
end
