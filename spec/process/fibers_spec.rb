# frozen_string_literal: true

# In a non-blocking fiber every wait goes through the Fiber scheduler (Ruby 3.1 and later). Results and errors are the
# same as in a thread.
if RUBY_VERSION >= "3.1"
  RSpec.describe "Waiting in fibers" do
    include_context "with a client of the fault server"

    # Runs `call` in one fiber. Another fiber opens the gate at which the response waits: the response arrives only if
    # the first fiber lets the second run.
    def while_another_fiber_responds(&call)
      result = nil
      SmallScheduler.run do |scheduler|
        Fiber.schedule { result = call.call }
        Fiber.schedule { faults.open("response") }
        scheduler.run
        expect(scheduler.waits).to be_positive
      end
      result
    end

    calls = {
      "a head" => ->(stream) { stream.head.next_offset },
      "an append" => ->(stream) { stream.append({ "a" => 1 }).next_offset },
      "an append by itself" => ->(stream) { stream.append({ "a" => 1 }, seq: "1").next_offset },
      "a read" => ->(stream) { stream.read.first.next_offset },
      "a long-poll" => ->(stream) { stream.read(live: :long_poll).first.next_offset },
      "a read with a time limit" => ->(stream) { stream.read(live: :long_poll).poll(60).next_offset },
      "items" => lambda do |stream|
        reader = stream.read_json
        reader.to_a
        reader.next_offset
      end,
      "a producer's flush" => lambda do |stream|
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
        producer.append({ "a" => 1 })
        producer.flush
        producer.close
        "7"
      end,
      "a producer's acknowledged append" => lambda do |stream|
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
        offset = producer.append!({ "a" => 1 }).next_offset
        producer.close
        offset
      end
    }

    calls.each do |name, call|
      it "lets other fibers run during #{name}" do
        faults.on do |reply|
          reply.wait("response")
          reply.respond(200, "[1]", "content-type" => "application/json", "stream-next-offset" => "7",
                                    "stream-up-to-date" => "true", "producer-epoch" => "0", "producer-seq" => "0")
        end
        expect(while_another_fiber_responds { call.call(stream) }).to eq("7")
      end
    end

    it "lets other fibers run while an event stream is silent" do
      faults.on do |reply|
        reply.head(200, "content-type" => "text/event-stream")
        reply.wait("response")
        reply.chunk("event: data\ndata: [1]\n\nevent: control\ndata: {\"streamNextOffset\":\"7\"}\n\n")
        reply.wait("never")
      end
      expect(while_another_fiber_responds { stream.read(live: :sse).first.items }).to eq([1])
    end

    it "lets other fibers run while a producer's buffer is full" do
      faults.on do |reply|
        reply.wait("response")
        reply.respond(200, "", "stream-next-offset" => "7", "producer-epoch" => "0", "producer-seq" => "0")
      end
      delivered = while_another_fiber_responds do
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", max_buffered_bytes: 10, linger_ms: 0)
        2.times { producer.append("\"1234567\"") }
        producer.pending.tap { producer.close }
      end
      expect(delivered).to be_between(0, 1)
    end

    it "runs value callables in the fiber, where they may wait" do
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      tokens = Thread::Queue.new
      stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => -> { tokens.pop } })
      SmallScheduler.run do
        Fiber.schedule { stream.head }
        Fiber.schedule { tokens << "fresh" }
      end
      expect(faults.wait_for_request.header("X-Token")).to eq("fresh")
    end

    it "waits without the scheduler in a blocking fiber" do
      faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      waits = SmallScheduler.run do |scheduler|
        Fiber.new(blocking: true) { stream.head }.resume
        scheduler.waits
      end
      expect(waits).to eq(0)
    end

    describe "a cancelled fiber" do
      let(:stop) { Class.new(StandardError) }

      before do
        faults.on { |reply| reply.wait("never") }
      end

      { "a head" => ->(stream) { stream.head }, "an append" => ->(stream) { stream.append(1) },
        "a long-poll" => ->(stream) { stream.read(live: :long_poll).first },
        "an SSE read" => ->(stream) { stream.read(live: :sse).first } }.each do |name, call|
        it "ends the request of #{name}, and leaves the stream usable" do
          error = nil
          SmallScheduler.run do
            fiber = Fiber.schedule do
              call.call(stream)
            rescue StandardError => e
              error = e
            end
            faults.wait_for_request
            fiber.raise(stop, "enough")
            faults.wait_until_closed(by: :client)
            faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
            Fiber.schedule { expect(stream.head.next_offset).to eq("7") }
          end
          expect(error).to be_a(stop)
        end
      end

      it "leaves its reader at its position" do
        faults.next { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1") }
        reader = stream.read_json(live: :long_poll)
        seen = []
        SmallScheduler.run do
          fiber = Fiber.schedule do
            reader.each { |item| seen << item }
          rescue StandardError => e
            seen << e.class
          end
          Fiber.schedule do
            faults.wait_for_request(2)
            fiber.raise(stop)
            faults.on { |reply| reply.respond(200, "[2]", "stream-next-offset" => "2", "stream-closed" => "true") }
            reader.each { |item| seen << item }
          end
        end
        expect(seen).to eq([1, stop, 2])
        expect(faults.requests.last.params).to include("offset" => "1")
      end
    end

    it "ends when the scheduler raises an error in every fiber" do
      faults.on { |reply| reply.wait("never") }
      errors = []
      SmallScheduler.run do |scheduler|
        3.times do
          Fiber.schedule do
            stream.read(live: :long_poll).first
          rescue IOError => e
            errors << e.message
          end
        end
        faults.wait_for_request(3)
        scheduler.cancel_all(IOError.new("the scheduler closes"))
      end
      expect(errors).to eq(["the scheduler closes"] * 3)
    end

    it "does not poll while it waits" do
      faults.on do |reply|
        reply.wait("response")
        reply.respond(200, "", "stream-next-offset" => "7")
      end
      faults.next { |reply| reply.respond(200, "", "stream-next-offset" => "7") }
      waits = SmallScheduler.run do |scheduler|
        # The next request uses the same notifier again.
        Fiber.schedule { stream.head }
        scheduler.run
        Fiber.schedule { stream.head }
        faults.wait_for_request(2)
        before = scheduler.waits
        Fiber.schedule do
          200.times { Fiber.scheduler.kernel_sleep(0) }
          faults.open("response")
        end
        scheduler.run
        scheduler.waits - before
      end
      # It waits a few times while the response arrives, and the command that opens the gate waits for IO too.
      expect(waits).to be < 100
    end

    it "ends on Timeout.timeout" do
      faults.on { |reply| reply.wait("never") }
      error = nil
      SmallScheduler.run do
        Fiber.schedule do
          Timeout.timeout(0.05) { stream.head }
        rescue Timeout::Error => e
          error = e
        end
      end
      expect(error).to be_a(Timeout::Error)
    end

    it "serves many fibers in one thread with little memory" do
      limit = Process.getrlimit(Process::RLIMIT_NOFILE)
      Process.setrlimit(Process::RLIMIT_NOFILE, limit.last)
      count = [Integer(ENV.fetch("FIBERS", "400")), (limit.last - 100) / 4].min
      own = start_server(long_poll_timeout_ms: 60_000)
      # Runs in a new program, because a heap's growth depends on its size.
      ended = ChildProcess.program(<<~RUBY, count.to_s, own.url, timeout: 60 + count / 10)
        require "json"
        require #{File.expand_path("../support/many_fibers", __dir__).inspect}
        puts JSON.generate(ManyFibers.new(Integer(ARGV[0]), ARGV[1]).run)
      RUBY
      report = JSON.parse(ended.output, symbolize_names: true)
      expect(report).to include(complete: true, threads: 2)
      # A fixed part, and about 65 kB for each fiber: a connection's buffers and the fiber's stack.
      expect(report[:kilobytes]).to be < 20_000 + count * 130
    ensure
      Process.setrlimit(Process::RLIMIT_NOFILE, *limit)
    end

    it "ends without an error when another fiber closes the reader" do
      faults.on { |reply| reply.wait("never") }
      reader = stream.read(live: :long_poll)
      ended = false
      SmallScheduler.run do
        Fiber.schedule { ended = reader.each(&:itself) }
        faults.wait_for_request
        Fiber.schedule { reader.close }
      end
      expect(ended).to be(reader)
    end
  end
end
