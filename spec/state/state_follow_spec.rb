# frozen_string_literal: true

require "durable_streams/state"
require "timeout"

on_each_server DurableStreams::State, ".follow" do
  include_context "with log lines"

  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path, content_type: :json) }
  let(:orders) { DurableStreams::State::Writer.new(stream) }

  after { client.close }

  def follow(...)
    Timeout.timeout(60) { described_class.follow(...) }
  end

  it "returns the state at the end of the data, with live: :off" do
    orders.insert("order", "1", 1)
    orders.upsert("order", "2", 2)
    orders.delete("order", "1")
    expect(follow(stream, live: :off).to_h).to eq("order" => { "2" => 2 })
  end

  it "yields the state with the whole batch applied, and the batch" do
    stream.append([1]) # skipped
    3.times { |number| orders.insert("order", number.to_s, number) }
    seen = []
    state = follow(stream, live: :off) { |*yielded| seen << [yielded[0], yielded[0].of("order"), yielded[1]] }
    expect(seen.map { |of_batch| of_batch[0] }).to all(equal(state))
    expect(seen.sum { |_, _, batch| batch.items.size }).to eq(4)
    expect(seen.last).to match([state, { "0" => 0, "1" => 1, "2" => 2 }, have_attributes(up_to_date?: true)])
  end

  %i[auto sse long_poll].each do |live|
    it "applies changes as they come, and ends by break, with live: #{live.inspect}" do
      orders.insert("order", "1", 0)
      seen = []
      result = follow(stream, live: live) do |state, batch|
        value = state["order", "1"]
        seen << value unless batch.items.empty?
        break "done" if value == 3

        orders.update("order", "1", value + 1) if batch.up_to_date? && batch.items.any?
      end
      expect(result).to eq("done")
      expect(seen).to eq([0, 1, 2, 3])
    end
  end

  it "ends at the end of a closed stream" do
    orders.insert("order", "1", 1)
    state = follow(stream) { |_, batch| stream.close_stream unless batch.stream_closed? }
    expect(state.to_h).to eq("order" => { "1" => 1 })
  end

  it "follows with live: :auto by default" do
    seen = []
    follow(stream) do |state, batch|
      seen << state["order", "1"] unless batch.items.empty?
      break if seen == [1]

      orders.insert("order", "1", 1) if batch.up_to_date?
    end
    expect(seen).to eq([1])
  end

  it "needs no block" do
    seen = []
    state = DurableStreams::State::Materialized.new.on_change { |change| seen << change.value }
    2.times { |number| orders.insert("order", "1", number) }
    stream.close_stream
    expect(follow(stream, state: state)).to equal(state)
    expect(seen).to eq([0, 1])
  end

  it "yields an empty stream's batch, which says that the state is up to date" do
    seen = []
    follow(stream, live: :off) { |state, batch| seen << [state.to_h, batch.up_to_date?] }
    expect(seen).to eq([[{}, true]])
  end

  describe "continuing" do
    before { 3.times { |number| orders.insert("order", number.to_s, number) } }

    # @return [String] the offset after what is in the stream
    def stop_up_to_date(state)
      follow(stream, state: state) { |_, batch| break batch.offset if batch.up_to_date? }
    end

    it "is possible with the same state from the last batch's offset" do
      changes = []
      state = DurableStreams::State::Materialized.new.on_change { |change| changes << change }
      offset = stop_up_to_date(state)
      orders.delete("order", "1")
      follow(stream, state: state, offset: offset, live: :off)
      expect(state.of("order")).to eq("0" => 0, "2" => 2)
      expect(changes.map(&:operation)).to eq(%i[insert insert insert delete])
    end

    it "is possible in another process, with a state that was saved" do
      state = DurableStreams::State::Materialized.new
      saved = JSON.generate("offset" => stop_up_to_date(state), "entries" => state.to_h)
      orders.delete("order", "1")
      entries = ChildProcess.run do
        restored = JSON.parse(saved)
        state = DurableStreams::State::Materialized.new(entries: restored["entries"])
        follow(stream, state: state, offset: restored["offset"], live: :off).to_h
      end
      expect(entries).to eq("order" => { "0" => 0, "2" => 2 })
    end

    it "is possible after an exception of a callback: nothing is missed" do
      state = DurableStreams::State::Materialized.new
      state.on_change { |change| raise KeyError, "mine" if change.key == "1" && change.operation == :insert }
      expect { follow(stream, state: state, live: :off) }.to raise_error(KeyError, "mine")
      expect(state.of("order")).to eq("0" => 0, "1" => 1)
      orders.update("order", "1", 7)
      state = DurableStreams::State::Materialized.new(entries: state.to_h)
      follow(stream, state: state, live: :off)
      expect(state.of("order")).to eq("0" => 0, "1" => 7, "2" => 2)
    end
  end

  describe "an invalid event" do
    before do
      orders.insert("order", "1", 1)
      @offset = stream.head.offset
      stream.append({ orders: 1 })
      stream.append("no object".to_json)
      orders.insert("order", "2", 2)
    end

    it "is skipped with a warning that says where to find it" do
      expect(follow(stream, offset: @offset, live: :off).to_h).to eq("order" => { "2" => 2 })
      expect(log_lines).to eq(
        ["WARN durable_streams: state: skipped event 1 after offset #{@offset}: its headers must be an object, " \
         "got NilClass",
         "WARN durable_streams: state: skipped event 2 after offset #{@offset}: it must be an object, got String"]
      )
      expect(stream.read_json(offset: @offset).first(2)).to eq([{ "orders" => 1 }, "no object"])
    end

    it "raises if the state is strict, with what was applied before it" do
      state = DurableStreams::State::Materialized.new(strict: true)
      expect { follow(stream, state: state, live: :off) }
        .to raise_error(DurableStreams::State::InvalidEventError, "event 2 after offset -1: its headers must be an " \
                                                                  "object, got NilClass")
      expect(state.to_h).to eq("order" => { "1" => 1 })
    end
  end

  it "can be read by another thread meanwhile" do
    state = DurableStreams::State::Materialized.new
    progress = Thread::Queue.new
    thread = Thread.new { described_class.follow(stream, state: state) { |_, batch| progress << batch } }
    orders.insert("order", "1", 1)
    progress.pop until state["order", "1"]
    expect(state.of("order")).to eq("1" => 1)
  ensure
    thread.kill.join
  end

  it "refuses what is no stream and what is no state" do
    expect { follow("/orders") }.to raise_error(ArgumentError, "stream must be a DurableStreams::Stream, got String")
    expect { follow(stream, state: {}) }
      .to raise_error(ArgumentError, "state must be a DurableStreams::State::Materialized, got Hash")
    expect { follow(stream, live: :often) }.to raise_error(ArgumentError, /live/)
  end

  it "raises if the stream is not there, or is not JSON" do
    expect { follow(client.stream(unique_path)) }.to raise_error(DurableStreams::StreamNotFoundError)
    text = client.create(unique_path, content_type: :text, body: "hello")
    expect { follow(text, live: :off) }.to raise_error(DurableStreams::ParseError)
  end
end

RSpec.describe DurableStreams::State do
  it "is not loaded by durable_streams" do
    output, = ChildProcess.outcome("p defined?(DurableStreams::State); require 'durable_streams/state'; " \
                                   "p DurableStreams::State")
    expect(output).to eq("nil\nDurableStreams::State\n")
  end

  it "works with streams in memory" do
    output, status = ChildProcess.outcome(<<~RUBY)
      require "durable_streams/testing"
      require "durable_streams/state"
      DurableStreams::Testing.install!
      stream = DurableStreams.create("/orders", content_type: :json)
      DurableStreams::State::Writer.new(stream).insert("order", "1", 1)
      p DurableStreams::State.follow(stream) { |state, _| break state["order", "1"] }
    RUBY
    expect(output).to eq("1\n")
    expect(status).to be_success
  end
end
