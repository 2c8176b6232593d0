# frozen_string_literal: true

require "json"
require "open3"
require "rbconfig"

# Compares the cost of one message among few and among many, each in a new process. PRODUCER_MESSAGES=1000000 runs more.
RSpec.describe DurableStreams::Producer, "with very many messages", :producer, without: :gc_pressure do
  let(:many) { Integer(ENV.fetch("PRODUCER_MESSAGES", 100_000)) }

  # Appends `count` messages of about 60 bytes to a new stream, from one thread.
  # @return [Hash] :seconds of processor time, and :megabytes by which the process grew at most
  def measure(count, message)
    target = DurableStreams::Stream.create(unique_url, content_type: :json)
    program = <<~RUBY
      require "durable_streams"
      require "json"
      memory = -> { File.read("/proc/self/status")[/^VmHWM:\\s+(\\d+) kB/, 1].to_i / 1024.0 }
      producer = DurableStreams::Producer.new(url: #{target.url.dump}, producer_id: "writer")
      1_000.times { |i| producer << #{message} }
      producer.flush
      before = memory.call
      started = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
      #{count}.times { |i| producer << #{message} }
      producer.close
      seconds = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - started
      puts JSON.generate(seconds: seconds, megabytes: memory.call - before)
    RUBY
    output, status = Open3.capture2(RbConfig.ruby, "-I", File.expand_path("../../lib", __dir__), "-e", program)
    raise "the process failed" unless status.success?

    expect(target.read_json.reduce(0) { |sum, _| sum + 1 }).to eq(count + 1_000)
    JSON.parse(output, symbolize_names: true)
  end

  {
    "Strings" => 'format("[%d,\"fifty bytes or so of text, as in an event\"]", i)',
    "Hashes" => '{ i: i, text: "fifty bytes or so of text, as in an event" }'
  }.each do |kind, message|
    it "uses constant time for each of many #{kind}, and no more memory than the buffer",
       if: File.exist?("/proc/self/status") do
      few = measure(many / 10, message)
      all = measure(many, message)
      expect(all[:seconds] / many).to be < 3 * (few[:seconds] / (many / 10))
      expect(all[:megabytes]).to be < 100
    end
  end
end
