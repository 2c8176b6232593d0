# frozen_string_literal: true

require "date"
require "durable_streams/state"

RSpec.describe DurableStreams::State::Writer do
  subject(:writer) { described_class.new(stream) }

  let(:stream) { DurableStreams.create(unique_url, content_type: :json) }

  def stored
    stream.read_all
  end

  it "appends changes" do
    writer.insert("order", "42", { total: 10 })
    writer.update("order", "42", { total: 11 }, old_value: { total: 10 })
    writer.upsert("order", "43", [1])
    writer.delete("order", "42")
    writer.delete("order", "43", old_value: [1])
    expect(stored).to eq(
      [{ "type" => "order", "key" => "42", "value" => { "total" => 10 }, "headers" => { "operation" => "insert" } },
       { "type" => "order", "key" => "42", "value" => { "total" => 11 }, "old_value" => { "total" => 10 },
         "headers" => { "operation" => "update" } },
       { "type" => "order", "key" => "43", "value" => [1], "headers" => { "operation" => "upsert" } },
       { "type" => "order", "key" => "42", "headers" => { "operation" => "delete" } },
       { "type" => "order", "key" => "43", "old_value" => [1], "headers" => { "operation" => "delete" } }]
    )
  end

  it "appends controls" do
    writer.control(:snapshot_start)
    writer.control(:snapshot_end, offset: "0_7")
    writer.control(:reset)
    expect(stored).to eq([{ "headers" => { "control" => "snapshot-start" } },
                          { "headers" => { "control" => "snapshot-end", "offset" => "0_7" } },
                          { "headers" => { "control" => "reset" } }])
  end

  it "appends any value of JSON: a String is a value, not JSON, and nil is there" do
    values = [nil, false, true, 1.5, "text", '{"a":1}', [], {}]
    values.each { |value| writer.insert("any", "1", value) }
    expect(stored.map { |event| event.fetch("value") }).to eq(values)
  end

  it "returns what append returns" do
    expect(writer.insert("order", "42", 1).next_offset).to eq(stream.head.offset)
    expect(writer.control(:reset)).to be_a(DurableStreams::AppendResult)
  end

  it "writes through a producer" do
    result = DurableStreams::Producer.open(stream: stream, producer_id: "orders") do |producer|
      orders = described_class.new(producer)
      10.times { |number| orders.insert("order", number.to_s, number) }
      orders.control(:reset)
    end
    expect(result).to be_nil
    expect(stored.size).to eq(11)
  end

  it "is shared by threads" do
    threads = Array.new(4) do |thread|
      Thread.new { 10.times { |number| writer.insert(thread.to_s, number.to_s, 1) } }
    end
    threads.each(&:join)
    state = DurableStreams::State.follow(stream, live: :off)
    expect(state.to_h.transform_values(&:size)).to eq("0" => 10, "1" => 10, "2" => 10, "3" => 10)
  end

  describe "headers" do
    def headers(**options)
      writer.insert("order", "42", 1, **options)
      writer.delete("order", "42", **options)
      stored.last(2).map { |event| event["headers"].except("operation") }.uniq
    end

    it "have the txid" do
      expect(headers(txid: "t1")).to eq([{ "txid" => "t1" }])
    end

    { Time.utc(2025, 1, 31, 12) => "2025-01-31T12:00:00Z",
      Time.at(1_738_324_800, 123_456, :usec, in: "+02:00") => "2025-01-31T12:00:00.123456Z",
      DateTime.new(2025, 1, 31, 12, 0, 0, "+01:00") => "2025-01-31T11:00:00Z" }.each do |timestamp, text|
      it "have the timestamp of a #{timestamp.class} in UTC: #{text}" do
        expect(headers(timestamp: timestamp)).to eq([{ "timestamp" => text }])
      end
    end

    %w[2025-01-31T12:00:00Z 2025-01-31t12:00:00z 2025-12-31T23:59:60.123456789+23:59].each do |text|
      it "have the timestamp of a String as it is: #{text}" do
        expect(headers(timestamp: text)).to eq([{ "timestamp" => text }])
      end
    end

    ["yesterday", "", "2025-01-31", "2025-01-31T12:00:00", "2025-13-31T12:00:00Z", "2025-01-31T24:00:00Z",
     "2025-01-31T12:00:00Z\n"].each do |text|
      it "refuse the timestamp #{text.inspect}" do
        expect { headers(timestamp: text) }
          .to raise_error(ArgumentError, "timestamp must be a Time or an RFC 3339 String such as " \
                                         "\"2025-01-31T12:00:00Z\", got #{text.inspect} (String)")
      end
    end

    it "refuse other classes" do
      expect { headers(timestamp: 1_738_324_800) }
        .to raise_error(ArgumentError, /\Atimestamp must be a Time or an RFC 3339 .*got 1738324800 \(Integer\)\z/)
      { 7 => "7 (Integer)", "" => '"" (String)' }.each do |txid, shown|
        expect { headers(txid: txid) }
          .to raise_error(ArgumentError, "txid must be a String that is not empty, got #{shown}")
      end
    end
  end

  describe "bad arguments" do
    after { expect(stored).to eq([]) }

    { type: ["", "1"], key: ["order", ""] }.each do |name, arguments|
      it "are refused by every operation: an empty #{name}" do
        calls = [-> { writer.insert(*arguments, 1) }, -> { writer.update(*arguments, 1) },
                 -> { writer.upsert(*arguments, 1) }, -> { writer.delete(*arguments) }]
        calls.each do |call|
          expect(&call).to raise_error(ArgumentError, "#{name} must be a String that is not empty, got \"\" (String)")
        end
      end
    end

    it "are refused: types and keys that are not Strings, or not text" do
      expect { writer.insert(:order, "1", 1) }
        .to raise_error(ArgumentError, "type must be a String that is not empty, got :order (Symbol)")
      expect { writer.delete("order", 1) }
        .to raise_error(ArgumentError, "key must be a String that is not empty, got 1 (Integer)")
      expect { writer.insert("order", "\xff", 1) }.to raise_error(ArgumentError, /\Akey must be text/)
    end

    it "are refused: other controls" do
      expect { writer.control("reset") }
        .to raise_error(ArgumentError, 'name must be :snapshot_start, :snapshot_end or :reset, got "reset" (String)')
      expect { writer.control(:reset, offset: "") }
        .to raise_error(ArgumentError, 'offset must be a String that is not empty, got "" (String)')
    end

    it "are refused: values without a JSON form" do
      expect { writer.insert("order", "1", Float::NAN) }.to raise_error(JSON::GeneratorError)
    end
  end

  it "refuses a target that is neither a stream nor a producer" do
    expect { described_class.new("/orders") }
      .to raise_error(ArgumentError, "target must be a DurableStreams::Stream or a DurableStreams::Producer, " \
                                     'got "/orders" (String)')
  end

  it "refuses a stream that is not JSON" do
    writer = described_class.new(DurableStreams.create(unique_url, content_type: :text))
    expect { writer.insert("order", "1", 1) }.to raise_error(ArgumentError, %r{text/plain takes a String, got Hash})
  end
end
