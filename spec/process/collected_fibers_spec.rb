# frozen_string_literal: true

# A scheduler may give a fiber up without a word: nothing is raised in it, it is garbage, and its stack goes with it.
# What waited on that stack ends like a call that was interrupted.
if RUBY_VERSION >= "3.1"
  RSpec.describe "A fiber that is collected while it waits" do
    include_context "with a client of the fault server"

    let(:client_options) { { timeout: 60, live_timeout: 60 } }
    let(:count) { 5 }

    # Runs a block in fibers of a thread that has ended afterwards; their scheduler has forgotten them.
    def abandon(times = count, &block)
      SmallScheduler.run do |scheduler|
        times.times { Fiber.schedule(&block) }
        yield_to_reach(times)
        scheduler.forget
      end
    end

    def yield_to_reach(times)
      faults.wait_for_request(times)
    end

    # Collects garbage until the block is true: what one collection finds depends on what a stack still shows.
    def collect_until
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
      until yield
        raise "garbage collection did not bring it about" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

        GC.start
      end
    end

    # Collects garbage until the client has closed these connections.
    def collect_until_closed(connections)
      collect_until do
        (connections.to_a - faults.events(type: :closed, by: :client).map { |event| event[:connection] }).empty?
      end
    end

    def descriptors
      Dir.children("/proc/self/fd").size
    end

    calls = {
      "a head" => ->(stream) { stream.head },
      "an append" => ->(stream) { stream.append(1) },
      "a long-poll" => ->(stream) { stream.read(live: :long_poll).first },
      "an event stream" => ->(stream) { stream.read(live: :sse).first }
    }
    calls.each do |name, call|
      it "ends #{name}, and holds no connection and no descriptor back" do
        faults.on { |reply| reply.wait("never") }
        abandon { call.call(client.stream("/s", content_type: "application/json")) }
        collect_until_closed(1..count)
        expect(stream_works).to eq("7")
      end
    end

    def stream_works
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      stream.head.next_offset
    end

    if File.directory?("/proc/self/fd")
      it "leaves as many descriptors open as there were" do
        faults.on { |reply| reply.wait("never") }
        abandon(1) { stream.head }
        collect_until_closed([1])
        before = descriptors
        SmallScheduler.run do |scheduler|
          20.times { Fiber.schedule { stream.read(live: :long_poll).first } }
          faults.wait_for_request(21)
          scheduler.forget
        end
        collect_until_closed(2..21)
        expect(descriptors).to be <= before
      end
    end

    it "releases the reader, which goes on where it was" do
      faults.on { |reply| reply.wait("never") }
      faults.next { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1") }
      reader = stream.read_json(live: :long_poll)
      expect(reader.next).to eq(1)
      SmallScheduler.run do |scheduler|
        Fiber.schedule { reader.next }
        faults.wait_for_request(2)
        scheduler.forget
      end
      collect_until { faults.events(type: :closed, by: :client).any? }
      faults.on { |reply| reply.respond(200, "[2]", "stream-next-offset" => "2", "stream-closed" => "true") }
      expect(reader.next).to eq(2)
      expect(faults.requests.last.params).to include("offset" => "1")
      reader.close
    end

    it "leaves a reader that can be closed" do
      faults.on { |reply| reply.wait("never") }
      reader = stream.read_json(live: :long_poll)
      SmallScheduler.run do |scheduler|
        Fiber.schedule { reader.next }
        faults.wait_for_request
        scheduler.forget
      end
      GC.start
      # Whoever waits is told by a list, in which nobody may be left whose stack is gone.
      100.times { Fiber.new { Array.new(100, &:to_s) }.resume }
      reader.close
      expect(reader).to be_closed
    end

    it "does not block appends sent with its own, for which it was to compute a header" do
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      faults.next do |reply|
        reply.wait("first")
        reply.respond(200, "", "stream-next-offset" => "6")
      end
      asked = Thread::Queue.new
      token = lambda do
        asked << true
        Fiber.current_scheduler&.block(:ever)
        "t"
      end
      stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token })
      first = Thread.new { stream.append(0) }
      faults.wait_for_request
      other = nil
      SmallScheduler.run do |scheduler|
        Fiber.schedule { stream.append(1) }
        other = Thread.new { stream.append(2).next_offset }
        Thread.pass until other.stop?
        faults.open("first")
        scheduler.step until scheduler.blocking?
        scheduler.forget
      end
      collect_until { other.join(0) }
      expect(other.value).to eq("7")
      first.join
      expect(faults.requests.map(&:body)).to eq(["[0]", "[2]"])
    end

    if Fiber.method_defined?(:kill)
      it "or killed, ends its request, and runs its ensure" do
        faults.on { |reply| reply.wait("never") }
        ensured = false
        SmallScheduler.run do
          fiber = Fiber.schedule do
            stream.head
          ensure
            ensured = true
          end
          faults.wait_for_request
          fiber.kill
        end
        faults.wait_until_closed(1, by: :client)
        expect(ensured).to be(true)
        expect(stream_works).to eq("7")
      end
    end
  end
end
