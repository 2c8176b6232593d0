# frozen_string_literal: true

require "rbconfig"
require "tempfile"
require_relative "../../examples/restartable_writer"

RSpec.describe RestartableWriter, :producer do
  def written
    stored.reject { |message| described_class.marker?(message) }
  end

  def markers
    stored.size - written.size
  end

  it "writes the missing messages, under the next epoch" do
    2.times { |run| described_class.new(stream, "writer").run((1..(10 + run)).map(&:to_s)) }
    expect(written).to eq((1..11).to_a)
    expect(markers).to eq(2)
  end

  it "skips messages that a killed writer had in flight" do
    blocked = proxied(linger_ms: 0)
    blocked.append!({ described_class::KEY => "the killed one" })
    block_append(:late)
    blocked << 0
    faults.wait_until_waiting(:late)
    described_class.new(stream, "writer").run(%w[0 1]) { faults.open(:late) }
    expect(failure { blocked.flush }).to be_a(DurableStreams::StaleEpochError)
    expect(written).to eq([0, 1])
  end

  it "claims the next epoch if another writer claimed the same one at the same time" do
    block_append(:late)
    handle = DurableStreams::Stream.new(faults.url(path), content_type: :json)
    writer = Thread.new { described_class.new(handle, "writer").run(%w[0 1]) }
    faults.wait_until_waiting(:late)
    direct.append!({ described_class::KEY => "the other one" })
    faults.open(:late)
    writer.join
    expect(written).to eq([0, 1])
    expect(markers).to eq(2)
  end

  it "leaves no gap and no duplicate however often its process is killed", without: :gc_pressure do
    count = 30_000
    Tempfile.create("events") do |events|
      events.puts('{"an":"event"}', '{"another":"event"}')
      events.flush
      6.times do |run|
        IO.popen([RbConfig.ruby, "-I", File.join(root, "lib"), File.join(root, "bin/support/writer.rb"), stream.url,
                  events.path, count.to_s]) do |writer|
          number_of_the_first = Integer(writer.gets)
          kill_after(writer, number_of_the_first) if run < 5
        end
      end
    end
    expect(written.map(&:first)).to eq((0...count).to_a)
    expect(markers).to eq(6)
  end

  def root
    File.expand_path("../..", __dir__)
  end

  # Kills the process once this message, or the last one, is in the stream.
  def kill_after(writer, number)
    Process.kill(:KILL, writer.pid) if stream.read_json(live: :long_poll).find do |message|
      message.is_a?(Array) && message.first >= [number, 29_999].min
    end
  end
end
