# frozen_string_literal: true

RSpec.describe "Values" do
  head = { exists: true, content_type: "text/plain", next_offset: "5", etag: "e", cache_control: "no-store",
           stream_closed: true, ttl_seconds: 60, expires_at: Time.at(0) }
  batch = { next_offset: "5", cursor: "c", up_to_date: true, stream_closed: false }
  {
    AppendResult: { next_offset: "5", duplicate: true },
    CloseResult: { final_offset: "5" },
    HeadResult: head,
    JsonBatch: { items: [1, nil].freeze, **batch },
    ByteChunk: { data: "x", **batch },
    ProducerResult: { next_offset: "5", duplicate: false, epoch: 1, seq: 2 }
  }.each do |name, members|
    describe name do
      let(:value) { DurableStreams.const_get(name).new(**members) }

      it "is frozen and equal to another one with the same members" do
        expect(value).to be_frozen
        expect(value).to eq(DurableStreams.const_get(name).new(**members))
      end

      it "can be read by method, name, to_h and pattern matching" do
        members.each do |member, content|
          read = [value.public_send(member), value[member], value[member.to_s], [value].dig(0, member)]
          expect(read).to all(eq(content))
        end
        expect(value.to_h).to include(members)
        expect(value.deconstruct_keys(members.keys.first(1))).to eq(members.first(1).to_h)
        expect(value.deconstruct_keys(nil)).to include(members)
      end

      it "has no other member" do
        expect { value[:nonsense] }.to raise_error(NameError)
        expect { value.class.new(nonsense: 1) }.to raise_error(ArgumentError, /nonsense/)
      end
    end
  end

  %i[HeadResult JsonBatch ByteChunk].each do |name|
    it "#{name} has the alias offset for next_offset everywhere" do
      value = DurableStreams.const_get(name).new(offset: "9")
      expect([value.offset, value.next_offset, value[:offset], value["offset"], [value].dig(0, :offset),
              value.to_h[:offset], value.to_h[:next_offset]]).to all(eq("9"))
      case value
      in { offset:, next_offset: }
        expect([offset, next_offset]).to eq(%w[9 9])
      end
      expect(value.class.new(**value.to_h)).to eq(value)
    end
  end

  it "has predicates that return true or false" do
    expect(DurableStreams::AppendResult.new(next_offset: "1").duplicate?).to be(false)
    expect(DurableStreams::ProducerResult.new(duplicate: true).duplicate?).to be(true)
    head = DurableStreams::HeadResult.new(stream_closed: nil)
    expect([head.exists?, head.closed?, head.stream_closed, head.stream_closed?]).to eq([true, false, false, false])
    batch = DurableStreams::JsonBatch.new
    expect([batch.up_to_date?, batch.stream_closed?, batch.items]).to eq([false, false, []])
  end

  it "distinguishes batches and chunks by their methods" do
    expect(DurableStreams::JsonBatch.new).to respond_to(:items)
    expect(DurableStreams::ByteChunk.new).not_to respond_to(:items)
  end

  it "freezes a copy of a batch's items, not the caller's Array" do
    items = [1]
    batch = DurableStreams::JsonBatch.new(items: items)
    items << 2
    expect(batch.items).to eq([1]).and be_frozen
  end

  it "creates equal values by the library's internal constructor" do
    position = ["5", "c", true, false]
    expect(DurableStreams::AppendResult.of("5", false))
      .to eq(DurableStreams::AppendResult.new(next_offset: "5")).and be_frozen
    expect(DurableStreams::JsonBatch.of([1], position))
      .to eq(DurableStreams::JsonBatch.new(items: [1], next_offset: "5", cursor: "c", up_to_date: true))
    expect(DurableStreams::ByteChunk.of("x", position))
      .to eq(DurableStreams::ByteChunk.new(data: "x", next_offset: "5", cursor: "c", up_to_date: true))
  end
end
