# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing do
  include_context "with streams in memory"

  let(:checkpoint) { DurableStreams::Checkpoint::Memory.new }

  def consumer(**options)
    DurableStreams::Consumer.new(DurableStreams.stream("/events"), checkpoint: checkpoint, **options)
  end

  before { [1, 2].each { |item| stream.append(item) } }

  it "lets a consumer read to the end of the data, and continue at its checkpoint" do
    items = []
    2.times do
      expect(consumer(live: :off).run { |batch| items.concat(batch.items) }).to eq(:up_to_date)
      stream.append(3)
    end
    expect(items).to eq([1, 2, 3])
  end

  it "lets a consumer follow a stream until it is stopped" do
    items = Queue.new
    made = consumer
    thread = in_thread { made.run { |batch| batch.items.each { |item| items << item } } }
    stream.append(3)
    expect(Array.new(3) { items.pop }).to eq([1, 2, 3])
    made.stop
    expect(thread.value).to eq(:stopped)
  end

  it "lets a consumer go on after failures" do
    mock.on(:get, "/events", status: 503, times: 2)
    expect(consumer(live: :off).run { nil }).to eq(:up_to_date)
  end
end
