# frozen_string_literal: true

require "json"

# What is opened is closed and what is allocated is freed. SCALE=1 (`rake spec:leaks`) measures 100,000 appends, 10,000
# readers and 1,000 producers; without it, as many as an ordinary run has time for.
RSpec.describe "Leaks" do
  scale = Float(ENV.fetch("SCALE", "0.02"))

  # Does the work twice, and prints what the process held before, between and after.
  prelude = <<~RUBY
    COUNT = Integer(ARGV[1])
    CLIENT = DurableStreams::Client.new(base_url: ARGV[0])
    STREAM = CLIENT.create("/specs/leaks-\#{Process.pid}", content_type: :json)
    STREAM.append({ "a" => "x" * 100 })

    # Connections close on the network's threads, of which no event tells: until none has for a while.
    def settle
      loop do
        before = Dir.children("/proc/self/fd").size
        sleep(0.1)
        return if Dir.children("/proc/self/fd").size >= before
      end
    end

    def held
      4.times { GC.start }
      settle
      status = File.read("/proc/self/status")
      { files: Dir.children("/proc/self/fd").size, threads: Integer(status[/Threads:\\s*(\\d+)/, 1]),
        kilobytes: Integer(status[/VmRSS:\\s*(\\d+)/, 1]) }
    end

    def measure
      yield COUNT / 10 + 20 # what is made once is made now
      before = held
      yield COUNT
      between = held
      yield COUNT
      puts JSON.generate([before, between, held])
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

  # Where the system tells what a process holds.
  if File.exist?("/proc/self/status")
    work.each do |name, (count, source)|
      it "are not made by #{name}" do
        count = [(count * scale).ceil, 20].max
        ended = ChildProcess.program(prelude + source, server_url, count.to_s, patience: 60 + count / 50)
        before, between, after = JSON.parse(ended.output, symbolize_names: true)
        # Connections that are kept for the next request, and threads that have not ended yet.
        expect(after[:files] - before[:files]).to be <= 20
        expect(after[:threads] - before[:threads]).to be <= 2
        # The allocator keeps some for itself; what leaks, leaks as much the second time.
        expect([between[:kilobytes] - before[:kilobytes], after[:kilobytes] - between[:kilobytes]].min)
          .to be < 2_000 + count / 10
      end
    end
  end
end
