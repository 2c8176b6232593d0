# frozen_string_literal: true

# A scheduler may drop a waiting fiber without raising anything in it. The GC then collects the fiber with its stack.
# The call that waited in it ends like an interrupted call.
if RUBY_VERSION >= "3.1"
  RSpec.describe "A fiber that is collected while it waits" do
    include_context "with a client of the fault server"

    let(:client_options) { { timeout: 60, live_timeout: 60 } }
    let(:count) { 5 }

    # Runs the block in fibers of a new thread, whose scheduler then drops them. The thread has ended afterwards.
    def abandon(times = count, &block)
      SmallScheduler.run do |scheduler|
        times.times { Fiber.schedule(&block) }
        faults.wait_for_request(times)
        scheduler.forget
      end
    end

    # Collects garbage until the block is true. One collection may not be enough, because a stack may still refer to a
    # fiber.
    def collect_until
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
      until yield
        raise "still false after 60 s of collections" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

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
      it "ends #{name} and closes its connection" do
        faults.on { |reply| reply.wait("never") }
        abandon { call.call(client.stream("/s", content_type: "application/json")) }
        collect_until_closed(1..count)
        expect(offset_of_head).to eq("7")
      end
    end

    # Sends a request that succeeds, to check that the stream is usable.
    def offset_of_head
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      stream.head.next_offset
    end

    if File.directory?("/proc/self/fd")
      it "leaves no descriptor open" do
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

    it "releases the reader, which continues at its position" do
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

    it "leaves the reader closable" do
      faults.on { |reply| reply.wait("never") }
      reader = stream.read_json(live: :long_poll)
      SmallScheduler.run do |scheduler|
        Fiber.schedule { reader.next }
        faults.wait_for_request
        scheduler.forget
      end
      GC.start
      # Closing wakes all waiters in a list. That list must not refer to the collected fiber's stack.
      100.times { Fiber.new { Array.new(100, &:to_s) }.resume }
      reader.close
      expect(reader).to be_closed
    end

    it "does not block appends that share its request if it was to compute the header" do
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      faults.next do |reply|
        reply.wait("first")
        reply.respond(200, "", "stream-next-offset" => "6")
      end
      token = lambda do
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
      it "or killed, ends its request and runs its ensure clause" do
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
        expect(offset_of_head).to eq("7")
      end
    end
  end
end
