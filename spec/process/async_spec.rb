# frozen_string_literal: true

# The library under the async gem. Needs async 2.0 or later, which has a Fiber scheduler, with its dependencies.
missing = begin
  gem "async", ">= 2"
  nil
rescue Gem::LoadError => e
  e.message.lines.first.chomp
end

if missing
  RSpec.configuration.reporter.message("SKIPPED: the examples under async: #{missing}")
else
  require "async"
  require "async/barrier"

  RSpec.describe "Waiting under async" do
    include_context "with a client of the fault server"

    def success(**headers)
      ->(reply) { reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true", **headers) }
    end

    it "lets other tasks run" do
      faults.on do |reply|
        reply.wait("go")
        success.call(reply)
      end
      results = Sync do |task|
        waiting = [task.async { stream.head.next_offset }, task.async { stream.append(1).next_offset },
                   task.async { stream.read_json.to_a }, task.async { stream.read(live: :long_poll).first.items }]
        task.async { faults.open("go") }
        waiting.map(&:wait)
      end
      expect(results).to eq(["1", "1", [1], [1]])
    end

    it "ends the request of a stopped task, and leaves the stream usable" do
      faults.on { |reply| reply.wait("never") }
      Sync do |task|
        tail = task.async { stream.read(live: :long_poll).each(&:itself) }
        faults.wait_for_request
        tail.stop
        faults.wait_until_closed(by: :client)
        faults.on(&success)
        expect(stream.append(1).next_offset).to eq("1")
      end
    end

    it "ends on a task's timeout" do
      faults.on { |reply| reply.wait("never") }
      Sync do |task|
        expect { task.with_timeout(0.05) { stream.head } }.to raise_error(Async::TimeoutError)
      end
    end

    it "ends all requests when the reactor ends" do
      faults.on { |reply| reply.wait("never") }
      thread = Thread.new do
        Async do |task|
          10.times { task.async { stream.read(live: :sse).each(&:itself) } }
        end
      end
      faults.wait_for_request(10)
      thread.kill
      expect(thread.join(AtOnce::SECONDS)).to be(thread)
      faults.wait_until_closed(by: :client)
    end

    it "follows many streams in one thread" do
      count = 200
      client = DurableStreams::Client.new(base_url: server_url)
      sums = Sync do
        barrier = Async::Barrier.new
        tasks = Array.new(count) do |index|
          barrier.async do
            stream = client.create(unique_path("async-#{index}"), content_type: :json)
            reader = stream.read_json(live: :long_poll)
            Async { 3.times { |number| stream.append(number) } }
            reader.first(3).sum
          end
        end
        tasks.map(&:wait)
      end
      expect(sums).to eq([3] * count)
    end
  end
end
