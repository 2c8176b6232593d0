# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "producers" do
  include_context "with streams in memory"

  it "deliver messages once and in order" do
    requests = 0
    mock.on(:post, "/events") { :connection if (requests += 1) == 2 }
    delivered = []
    DurableStreams::Producer.open(stream: stream, producer_id: "p", max_batch_items: 3, linger_ms: 0,
                                  on_delivery: ->(result, count) { delivered << [result.seq, count] }) do |producer|
      10.times { |i| producer.append(i) }
      producer.flush
      expect(producer.append!({ last: true }).next_offset).to eq(stream.head.next_offset)
    end
    expect(described_class.messages_for("/events")).to eq([*0..9, { "last" => true }])
  end

  it "are fenced, and claim the next epoch with auto_claim" do
    open = ->(**options) { DurableStreams::Producer.new(stream: stream, producer_id: "p", **options) }
    open.call(epoch: 3).append!(1)
    expect { open.call(epoch: 1).append!(2) }.to raise_error(DurableStreams::StaleEpochError) { |error|
      expect(error.current_epoch).to eq(3)
    }
    claiming = open.call(epoch: 1, auto_claim: true)
    expect(claiming.append!(2)).to have_attributes(epoch: 4, duplicate?: false)
    expect { open.call(epoch: 4, next_seq: 5).append!(3) }.to raise_error(DurableStreams::SequenceGapError)
    expect(claiming.close_stream(data: 4).final_offset).to eq(stream.head.next_offset)
    expect(described_class.messages_for("/events")).to eq([1, 2, 4])
  end

  it "detect that an earlier run used the epoch, also if the first append creates the stream" do
    open = ->(**options) { DurableStreams::Producer.new(url: "/new", client: client, producer_id: "p", **options) }
    2.times { |run| open.call(auto_claim: true).append!({ run: run }) }
    claimed = open.call(epoch: 1)
    expect { claimed.append!({ run: 2 }) }.to raise_error(DurableStreams::EpochReusedError)
    expect(described_class.messages_for("/v1/new")).to eq([{ "run" => 0 }, { "run" => 1 }])
  end

  it "fail with the exception that the block of `on` raises" do
    mock.on(:post, "/events") { raise IOError, "mine" }
    producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
    producer.append({ a: 1 })
    expect { producer.flush }.to raise_error(DurableStreams::ProducerError) { |error|
      expect(error.cause).to be_a(IOError).and have_attributes(message: "mine")
      expect(error.undelivered).to eq([{ a: 1 }])
    }
  end
end
