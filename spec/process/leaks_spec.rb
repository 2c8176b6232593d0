# frozen_string_literal: true

require "json"

# What is opened is closed and what is allocated is freed. SCALE=1 (`rake spec:leaks`) measures 100,000 appends, 10,000
# readers and 1,000 producers; without it, as many as an ordinary run has time for.
RSpec.describe "Leaks" do
  scale = Float(ENV.fetch("SCALE", "0.02"))
  # What a process that uses the library holds at rest: connections, and what the runtime and Ruby wait with; the
  # network's thread, the two that ask callables and tell callbacks, and one or two of Ruby's.
  files = 30
  threads = 6

  # Does the work several times, and prints what the process held at first, before, between and after. What is closed
  # ends on the network's threads, of which no event tells: it has a minute for that.
  prelude = <<~RUBY
    COUNT = Integer(ARGV[1])

    def held
      status = File.read("/proc/self/status")
      { files: Dir.children("/proc/self/fd").size, threads: Integer(status[/Threads:\\s*(\\d+)/, 1]),
        kilobytes: Integer(status[/VmRSS:\\s*(\\d+)/, 1]) }
    end

    FIRST = held
    CLIENT = DurableStreams::Client.new(base_url: ARGV[0])
    STREAM = CLIENT.create("/specs/leaks-\#{Process.pid}", content_type: :json)
    STREAM.append({ "a" => "x" * 100 })

    # What is held at last. The library keeps connections for the next request, and threads of its own. The system
    # closes and ends others in its own time, of which no event tells: hence the short sleep.
    def held_at_rest
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
      loop do
        4.times { GC.start }
        now = held
        rests = now[:files] <= FIRST[:files] + #{files} && now[:threads] <= FIRST[:threads] + #{threads}
        return now if rests || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
        sleep(0.02)
      end
    end

    # Memory that stops growing is not being lost: Ruby and the allocator keep some for later.
    def flat?(rounds)
      rounds.each_cons(2).any? { |before, after| after[:kilobytes] - before[:kilobytes] < 1_000 + COUNT / 100 }
    end

    def measure
      yield COUNT / 10 + 20 # what is made once is made now
      rounds = [held_at_rest]
      until rounds.size > 2 && flat?(rounds) || rounds.size > 6
        yield COUNT
        rounds << held_at_rest
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
    "readers that are abandoned in the midst of an answer" => [1_000, <<~RUBY],
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
          nil # a number used before
        end
      end
    RUBY
    "producers that are abandoned" => [1_000, <<~RUBY],
      measure do |count|
        count.times do |i|
          tell = ->(*) {}
          producer = DurableStreams::Producer.new(stream: STREAM, producer_id: "a\#{rand(10**9)}", on_delivery: tell)
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

  # Where the system tells what a process holds.
  if File.exist?("/proc/self/status")
    work.each do |name, (count, source)|
      next if name.start_with?("fibers") && RUBY_VERSION < "3.1"

      it "are not made by #{name}" do
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
