# frozen_string_literal: true

require "tmpdir"
require_relative "../../examples/checkpointed_tail"

RSpec.describe CheckpointedTail do
  let!(:folder) { Dir.mktmpdir }
  let!(:path) { File.join(folder, "events.jsonl") }
  let!(:stream) { DurableStreams.create(unique_url("tail"), content_type: :json) }

  after { FileUtils.rm_rf(folder) }

  def written
    File.readlines(path).map { |line| JSON.parse(line) }
  end

  it "writes the events until it is stopped, and continues in the next run" do
    [{ "a" => 1 }, ["b"]].each { |event| stream.append(event) }
    tail = described_class.new(stream, path)
    expect(tail.run { tail.stop }).to eq(:stopped)
    stream.append("c".to_json)
    stream.close_stream
    events = []
    expect(described_class.new(stream, path).run { |more| events.concat(more) }).to eq(:closed)
    expect(events).to eq(["c"])
    expect(written).to eq([{ "a" => 1 }, ["b"], "c"])
    expect(described_class.new(stream, path).saved).to eq([File.size(path), stream.head.next_offset])
  end

  it "leaves no gap and no duplicate however often its process is killed", without: :gc_pressure do
    killed = KilledConsumers.new(60) do |_, begun|
      described_class.new(stream, path).run { begun.call }
    end
    done = false
    appending = Thread.new do
      count = 0
      until done
        stream.append(count += 1)
        sleep(0.001) # The tails need the processor, too.
      end
      stream.close_stream
      count
    end
    killed.run
    done = true
    count = appending.value
    killed.finish
    expect(written).to eq((1..count).to_a)
  end
end
