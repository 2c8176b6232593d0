# frozen_string_literal: true

require_relative "../support/scripted_stream"

# These examples break out of loops on purpose.
# rubocop:disable Lint/UnreachableLoop
RSpec.describe DurableStreams::JsonReader do
  let(:stream) do
    ScriptedStream.new({ parts: [[1, 2], [3]], next_offset: "3" }, { parts: [[4], [5], []], next_offset: "5" },
                       { parts: [], next_offset: "5", up_to_date: true })
  end
  let(:native) { stream.native }

  def reader(unit = :batches, **options)
    described_class.new(stream, each_yields: unit, **options)
  end

  it "opens a read with its options" do
    reader(offset: nil, live: true, cursor: "c")
    expect(native.opened_with)
      .to eq(format: :json, live: :auto, offset: "-1", cursor: "c", retry_policy: nil, stop: nil)
  end

  it "starts at the given offset and cursor" do
    expect(reader(offset: "7", cursor: "c"))
      .to have_attributes(next_offset: "7", offset: "7", cursor: "c", up_to_date?: false, stream_closed?: false,
                          closed?: false)
  end

  describe "batches" do
    it "yields one for each response and ends" do
      batches = reader.to_a
      expect(batches.map(&:items)).to eq([[1, 2, 3], [4, 5], []])
      expect(batches.map(&:offset)).to eq(%w[3 5 5])
      expect(batches.map(&:up_to_date?)).to eq([false, false, true])
      expect(batches.map(&:items)).to all(be_frozen)
    end

    it "moves next_offset to the end of the yielded batch" do
      reader = reader()
      seen = reader.map { |batch| [batch.next_offset == reader.next_offset, reader.cursor, reader.up_to_date?] }
      expect(seen).to eq([[true, "c3", false], [true, "c5", false], [true, "c5", true]])
    end

    it "continues after the last batch when the block breaks" do
      reader = reader()
      expect(reader.first.items).to eq([1, 2, 3])
      expect(reader.next_offset).to eq("3")
      expect(reader.map(&:items)).to eq([[4, 5], []])
    end

    it "continues after a batch whose block raised" do
      reader = reader()
      expect { reader.each { raise "no" } }.to raise_error("no")
      expect(reader.next_offset).to eq("3")
      expect(reader.first.items).to eq([4, 5])
    end
  end

  describe "items" do
    it "yields all items, and nothing for an empty response" do
      expect(reader(:items).to_a).to eq([1, 2, 3, 4, 5])
      expect(reader(:items).map(&:itself)).to eq([])
      expect(reader(:items)).to have_attributes(next_offset: "-1")
    end

    it "yields them while the response arrives" do
      takes = reader(:items).map { |item| [item, native.takes] }
      expect(takes).to eq([[1, 1], [2, 1], [3, 2], [4, 3], [5, 4]])
    end

    it "moves next_offset with the last item of a response, before it is yielded" do
      reader = reader(:items)
      expect(reader.map { |item| [item, reader.next_offset] })
        .to eq([[1, "-1"], [2, "-1"], [3, "3"], [4, "3"], [5, "3"]])
      expect(reader).to have_attributes(next_offset: "5", up_to_date?: true)
    end

    it "neither loses nor repeats an item when the block breaks" do
      reader = reader(:items)
      seen = []
      seen << reader.first(1) << reader.first(3)
      reader.each do |item|
        seen << item
        break
      end
      expect(seen).to eq([[1], [2, 3, 4], 5])
      expect(reader.to_a).to eq([])
    end

    it "does not repeat an item whose block raised" do
      reader = reader(:items)
      expect { reader.each { |item| raise "no" if item == 2 } }.to raise_error("no")
      expect(reader.to_a).to eq([3, 4, 5])
    end

    it "stops within a response when it is closed" do
      reader = reader(:items)
      expect(reader.each_with_object([]) { |item, seen| reader.close if (seen << item) == [1] }).to eq([1])
    end

    it "shares its position with a block that reads items itself" do
      reader = reader(:items)
      expect(reader.map { |item| item == 1 ? [item, reader.next, reader.next, reader.next] : item })
        .to eq([[1, 2, 3, 4], 5])
    end
  end

  it "yields the rest of a response as a batch after some of its items" do
    reader = reader()
    reader.each_item { break }
    expect(reader.next_offset).to eq("-1")
    expect(reader.map(&:items)).to eq([[2, 3], [4, 5], []])
  end

  it "yields the items of a batch after peek" do
    reader = reader()
    expect(reader.peek.items).to eq([1, 2, 3])
    expect(reader.each_item.to_a).to eq([1, 2, 3, 4, 5])
  end

  describe "being Enumerable" do
    it "has Enumerators of unknown size" do
      %i[each each_batch each_item lazy].each { |name| expect(reader.public_send(name).size).to be_nil }
    end

    it "is lazy" do
      expect(reader(:items).lazy.select(&:even?).map { |item| item * 10 }.first(1)).to eq([20])
      expect(native.takes).to eq(1)
    end

    it "supports external enumeration" do
      reader = reader(:items)
      expect([reader.peek, reader.next, reader.next]).to eq([1, 1, 2])
      expect(reader.next_offset).to eq("-1")
      expect([reader.peek, reader.next_offset, reader.next, reader.next_offset]).to eq([3, "-1", 3, "3"])
      rest = []
      loop { rest << reader.next }
      expect(rest).to eq([4, 5])
      expect { reader.next }.to raise_error(StopIteration)
    end

    it "supports external enumeration by an Enumerator" do
      enumerator = reader.each
      expect([enumerator.next, enumerator.next].map(&:items)).to eq([[1, 2, 3], [4, 5]])
    end
  end

  describe "the running request" do
    it "is cancelled whenever an iteration ends" do
      reader = reader(:items)
      reader.first
      expect(native.cancels).to eq(1)
      expect { reader.each { raise "no" } }.to raise_error("no")
      expect(native.cancels).to eq(2)
      catch(:out) { reader.each_batch { throw :out } }
      expect(native.cancels).to eq(3)
      reader.each_batch {}
      expect(native.cancels).to eq(4)
    end

    it "continues between two steps of an external enumeration" do
      reader.next
      expect(native.cancels).to eq(0)
    end
  end

  it "raises an error after the items before it" do
    reader = reader(:items)
    seen = []
    native_failure = DurableStreams::ParseError.new("cut off")
    expect do
      reader.each do |item|
        seen << item
        native.failure = native_failure
      end
    end.to raise_error(native_failure)
    expect(seen).to eq([1, 2])
    expect(reader.next_offset).to eq("-1")
  end

  it "sends no request at the end of a closed stream" do
    stream = ScriptedStream.new({ parts: [[1]], next_offset: "1", up_to_date: true, stream_closed: true })
    reader = described_class.new(stream, each_yields: :items)
    expect(reader.to_a).to eq([1])
    expect(reader).to be_stream_closed
    expect { reader.to_a }.not_to(change { stream.native.takes })
  end

  describe "#close" do
    it "is permanent and may be called twice" do
      reader = reader()
      2.times { expect(reader.close).to be_nil }
      expect(reader).to be_closed
      %i[each each_item each_batch].each do |name|
        expect { reader.public_send(name) { raise "never" } }
          .to raise_error(DurableStreams::ClosedError, %r{\Aread http://host/stream\?…: the reader is closed})
      end
      expect { reader.next }.to raise_error(DurableStreams::ClosedError)
    end

    it "ends an external enumeration without an error" do
      reader = reader()
      reader.next
      reader.close
      expect { reader.next }.to raise_error(StopIteration)
    end
  end

  it "yields items or batches by the configuration's default" do
    context = DurableStreams.new_context { |config| config.each_yields = :items }
    stream = ScriptedStream.new({ parts: [[1, 2]], next_offset: "2" }, context: context)
    expect(described_class.new(stream).to_a).to eq([1, 2])
  end

  it "shows no credentials" do
    expect(reader.inspect).to eq('#<DurableStreams::JsonReader http://host/stream?… next_offset="-1" closed=false>')
  end
end
# rubocop:enable Lint/UnreachableLoop
