# frozen_string_literal: true

require "json"

# The library closes what it opens and frees what it allocates. SCALE=1 (`rake spec:leaks`) measures 100,000 appends,
# 10,000 readers and 1,000 producers. An ordinary run measures fewer.
RSpec.describe "Leaks" do
  scale = Float(ENV.fetch("SCALE", "0.02"))
  # The additional files and threads of a process that has used the library. Files: connections, and the descriptors
  # with which the runtime and Ruby wait. Threads: the runtime's, the two for callables and callbacks, one or two of
  # Ruby's.
  files = 30
  threads = 6

  # Does the work several times. Prints the resources of the process at its start and after every round. Closed
  # connections end on the runtime's threads and no event reports it: they have a minute for it.
  prelude = <<~RUBY
    COUNT = Integer(ARGV[1])

    def resources
      status = File.read("/proc/self/status")
      { files: Dir.children("/proc/self/fd").size, threads: Integer(status[/Threads:\\s*(\\d+)/, 1]),
        kilobytes: Integer(status[/VmRSS:\\s*(\\d+)/, 1]) }
    end

    FIRST = resources
    CLIENT = DurableStreams::Client.new(base_url: ARGV[0])
    STREAM = CLIENT.create("/specs/leaks-\#{Process.pid}", content_type: :json)
    STREAM.append({ "a" => "x" * 100 })

    # The resources after all that ends has ended. Some connections remain open for the next request, and some threads
    # remain. The operating system closes the others later and no event reports it: hence the short sleep.
    def resources_at_rest
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
      loop do
        4.times { GC.start }
        now = resources
        rests = now[:files] <= FIRST[:files] + #{files} && now[:threads] <= FIRST[:threads] + #{threads}
        return now if rests || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
        sleep(0.02)
      end
    end

    # Memory that stops growing does not leak: Ruby and the allocator retain some for later.
    def flat?(rounds)
      rounds.each_cons(2).any? { |before, after| after[:kilobytes] - before[:kilobytes] < 1_000 + COUNT / 100 }
    end

    def measure
      yield COUNT / 10 + 20 # Allocates what is allocated once.
      rounds = [resources_at_rest]
      until rounds.size > 2 && flat?(rounds) || rounds.size > 6
        yield COUNT
        rounds << resources_at_rest
      end
      puts JSON.generate([FIRST, rounds, flat?(rounds)])
    end
  RUBY

  work = {
    "appends" => [100_000, "measure { |count| count.times { |i| STREAM.append({ \"i\" => i }, seq: nil) } }"],
    "appends of several threads" => [20_000, <<~RUBY],
      measure do |count|
        threads = Array.new(4) { Thread.new { (count / 4).times { |i| STREAM.append({ "i" => i }) } } }
        threads.each(&:join)
      end
    RUBY
    "readers that are read to their end" => [10_000, "measure { |count| count.times { STREAM.read_json.first(1) } }"],
    "readers that are abandoned in the middle of a response" => [1_000, <<~RUBY],
      large = CLIENT.create("/specs/leaks-large-\#{Process.pid}", content_type: :json)
      3.times { large.append({ "a" => "x" * 1_000_000 }) }
      measure { |count| count.times { large.read_json.next } }
    RUBY
    "live readers that are abandoned" => [10_000, <<~RUBY],
      measure { |count| count.times { STREAM.read_json(live: :long_poll).next } }
    RUBY
    "live readers that are closed" => [5_000, <<~RUBY],
      measure { |count| count.times { STREAM.read_json(live: :sse) { |reader| reader.next } } }
    RUBY
    "waits that are interrupted" => [1_000, <<~RUBY],
      measure do |count|
        count.times do
          thread = Thread.new { STREAM.read_json(live: :long_poll, offset: "now").each { nil } }
          Thread.pass until thread.stop?
          thread.kill.join
        end
      end
    RUBY
    "fibers that are collected while they wait" => [5_000, <<~RUBY],
      require #{File.expand_path("../support/small_scheduler", __dir__).inspect}
      measure do |count|
        (count / 10).times do
          SmallScheduler.run do |scheduler|
            10.times { Fiber.schedule { STREAM.read_json(live: :long_poll, offset: "now").first } }
            scheduler.forget
          end
        end
      end
    RUBY
    "failures" => [10_000, <<~RUBY],
      missing = CLIENT.stream("/specs/none-\#{Process.pid}", content_type: :json)
      measure { |count| count.times { missing.exists? } }
    RUBY
    "producers that are closed" => [1_000, <<~RUBY],
      measure do |count|
        count.times do |i|
          producer = DurableStreams::Producer.new(stream: STREAM, producer_id: "c\#{i % 50}", auto_claim: true)
          producer.append({ "i" => i })
          producer.close
        rescue DurableStreams::ProducerError
          nil # This producer's sequence number was used before.
        end
      end
    RUBY
    "producers that are abandoned" => [1_000, <<~RUBY],
      ids = 0
      measure do |count|
        count.times do |i|
          callback = ->(*) {}
          producer = DurableStreams::Producer.new(stream: STREAM, producer_id: "a\#{ids += 1}", on_delivery: callback)
          producer.append!({ "i" => i })
        end
      end
    RUBY
    "clients" => [2_000, <<~RUBY]
      measure do |count|
        count.times do
          DurableStreams::Client.open(base_url: ARGV[0]) { |client| client.stream("/specs/none").exists? }
        end
      end
    RUBY
  }

  define_method(:report) do |title, rounds|
    figures = rounds.first.keys.map { |kind| "#{kind} #{rounds.map { |round| round[kind] }.join(" ")}" }
    RSpec.configuration.reporter.message("#{title}: #{figures.join(", ")}")
  end

  # Only where the operating system reports the resources of a process.
  if File.exist?("/proc/self/status")
    work.each do |name, (count, source)|
      next if name.start_with?("fibers") && RUBY_VERSION < "3.1"

      it "are not caused by #{name}" do
        count = [(count * scale).ceil, 20].max
        ended = ChildProcess.program(prelude + source, server_url, count.to_s, timeout: 600 + count / 20)
        first, rounds, flat = JSON.parse(ended.output, symbolize_names: true)
        report("#{count} #{name}", [first, *rounds]) if ENV["SCALE"]
        expect(rounds.last[:files] - first[:files]).to be <= files
        expect(rounds.last[:threads] - first[:threads]).to be <= threads
        expect(flat).to be(true), "memory grew by each round: #{rounds}"
      end
    end
  end
end
