# frozen_string_literal: true

require "timeout"

# If the last read of a stream was small, the library expects the next one to be small too, and executes it on an inline
# runtime. If the response is larger, the read starts again on the runtime's threads.
RSpec.describe "A read of a stream whose last read was small", :faults do
  let(:stream) { fault_stream }
  let(:many) { [*2..20_000] }

  before do
    faults.next("GET") { |reply| reply.read("[1]", next_offset: "1", up_to_date: true) }
    expect(stream.read_json.to_a).to eq([1])
  end

  def read
    stream.read_json(offset: "1")
  end

  def head(reply, next_offset: "2", up_to_date: true)
    reply.head(200, "content-type" => "application/json", "stream-next-offset" => next_offset,
                    "stream-up-to-date" => up_to_date.to_s)
  end

  it "needs one request if it is small again" do
    2.times { faults.next("GET") { |reply| head(reply).chunk("[2,").chunk("3]").finish } }
    2.times { expect(read.to_a).to eq([2, 3]) }
    expect(faults.requests.size).to eq(3)
  end

  it "is retried like any other" do
    faults.on("GET") { |reply| head(reply).chunk("[2,3]").finish }
    faults.next("GET") { |reply| reply.respond(503) }
    faults.next("GET") { |reply| head(reply).chunk("[2,").rst }
    expect(read.to_a).to eq([2, 3])
    faults.on("GET") { |reply| reply.respond(404) }
    expect { read.to_a }.to raise_error(DurableStreams::StreamNotFoundError)
  end

  { "is large" => "[#{[*2..20_000].join(",")},", "does not arrive at once" => "[2," }.each do |event, beginning|
    it "starts again if the response #{event}, and neither loses nor repeats items" do
      faults.next("GET") { |reply| head(reply).chunk(beginning).wait("never") }
      faults.next("GET") { |reply| head(reply).chunk(beginning).wait("rest").chunk("0]").finish }
      reader = read
      expect(reader.next).to eq(2)
      faults.open("rest")
      expect(reader.to_a.last).to eq(0)
      expect(faults.requests.last(2).map(&:target)).to eq(["/s?offset=1"] * 2)
    end
  end

  it "starts again if the response is not the last" do
    2.times { faults.next("GET") { |reply| head(reply, up_to_date: false).chunk("[2]").finish } }
    faults.next("GET", nil, query: { "offset" => "2" }) { |reply| head(reply, next_offset: "3").chunk("[3]").finish }
    expect(read.to_a).to eq([2, 3])
  end

  it "is not expected to be small after a larger one" do
    2.times { faults.next("GET") { |reply| head(reply).chunk("[#{many.join(",")},").wait("never") } }
    faults.next("GET") { |reply| head(reply).chunk("[2,").wait("rest").chunk("3]").finish }
    expect(read.first(1)).to eq([2])
    reader = read
    expect(reader.next).to eq(2)
    faults.open("rest")
    expect(reader.to_a).to eq([3])
  end

  it "ends when its reader is closed by another thread, and by a timeout" do
    faults.on("GET") { |reply| reply.wait("never") }
    reader = read
    thread = Thread.new { reader.to_a }
    faults.wait_for_request(2)
    reader.close
    expect(thread.value).to eq([])
    expect { Timeout.timeout(0.2) { read.to_a } }.to raise_error(Timeout::Error)
  end

  it "sends one request if several threads wait for it" do
    faults.next("GET") { |reply| head(reply.wait("go")).chunk("[#{many.first(9).join(",")}]").finish }
    faults.on("GET", query: { "offset" => "2" }) { |reply| reply.read("[]", next_offset: "2", up_to_date: true) }
    reader = read
    threads = Array.new(3) { Thread.new { reader.to_a } }
    faults.wait_for_request(2)
    faults.open("go")
    items = threads.flat_map(&:value)
    expect(items).to eq(items.uniq)
    expect(faults.requests.map(&:target).count("/s?offset=1")).to eq(1)
  end

  it "works in a forked child" do
    2.times { faults.next("GET") { |reply| head(reply).chunk("[2]").finish } }
    expect(ChildProcess.run { read.to_a }).to eq([2])
    expect(read.to_a).to eq([2])
  end

  if RUBY_VERSION >= "3.1"
    it "lets other fibers run" do
      faults.next("GET") { |reply| head(reply).chunk("[2,").wait("rest").chunk("3]").finish }
      done = []
      SmallScheduler.run do
        Fiber.schedule { done << read.to_a }
        Fiber.schedule do
          done << :other
          faults.open("rest")
        end
      end
      expect(done).to eq([:other, [2, 3]])
    end
  end
end
