# frozen_string_literal: true

require "tempfile"

RSpec.describe DurableStreams::Producer, "at the end of a process", :producer do
  # Runs a program in a new process. Its `producer` writes to this example's stream and sends nothing by itself.
  # @return [Array] what it printed to standard output and error, and its Process::Status
  def run(program, url: faults.url(path), timeout: 5)
    preamble = <<~RUBY
      client = DurableStreams::Client.new(timeout: #{timeout})
      producer = DurableStreams::Producer.new(url: #{url.dump}, client: client, producer_id: "writer", linger_ms: 60_000)
    RUBY
    ChildProcess.outcome(preamble + program)
  end

  it "sends messages that were never flushed" do
    output, status = run("1_000.times { |i| producer << i }")
    expect(output).to eq("")
    expect(status).to be_success
    expect(stored).to eq((0...1_000).to_a)
  end

  it "sends messages before the program is replaced, by flush_before_exit" do
    output, status = run("producer << 1; #{described_class}.flush_before_exit; exec('echo', 'replaced')")
    expect([output, status.exitstatus]).to eq(["replaced\n", 0])
    expect(stored).to eq([1])
  end

  it "sends messages that the application's at_exit block appends" do
    run("at_exit { producer << 2 }; producer << 1")
    expect(stored).to eq([1, 2])
  end

  # When Sinatra and minitest/autorun are required, they register a block that runs the application. Blocks run in
  # reverse order, so the library's block, which is newer, runs before the application.
  describe "with an application that runs in an at_exit block older than the library's" do
    def run(application, before: "")
      Tempfile.create(["early", ".rb"]) do |file|
        file.write("at_exit { $application.call }")
        file.close
        program = <<~RUBY
          def producer(**options)
            DurableStreams::Producer.new(url: #{faults.url(path).dump}, linger_ms: 60_000, **options)
          end
          #{before}
          $application = -> { #{application} }
        RUBY
        ChildProcess.outcome(program, options: ["-r", file.path])
      end
    end

    it "sends the messages of producers created before and in the block" do
      ["$saved = producer(producer_id: 'new'); $saved << 1; $saved << 2", "$saved << 3",
       "Thread.new { $saved << 4 }.join; at_exit { $saved << 5 }",
       "Process.wait(fork { producer(producer_id: 'forked') << 6 })"].each_with_index do |application, i|
        expect(run(application, before: "$saved = producer(producer_id: 'w#{i}')").first).to eq("")
      end
      expect(stored).to eq([1, 2, 3, 4, 5, 6])
    end

    it "logs undelivered messages" do
      faults.on("POST", path) { |reply| reply.respond(404) }
      expect(run("$old = producer(producer_id: 'w'); $old << 1").first).to match(/1 appended messages did not reach/)
    end

    it "restarts dead callback threads" do
      output, = run(<<~RUBY)
        died = false
        values = -> { died ? "1" : (died = true) && Thread.exit }
        saved = producer(producer_id: "w", max_batch_items: 1, headers: { "x" => values },
                        on_delivery: ->(*) { puts("delivered") || Thread.exit })
        2.times { |i| saved << i }
        saved.flush
        puts "flushed"
      RUBY
      expect(output.lines(chomp: true)).to match_array(%w[delivered delivered flushed])
    end

    it "ends although a thread never stops appending" do
      output, status = run(<<~RUBY, before: "$saved = producer(producer_id: 'w', linger_ms: 0)")
        Thread.new { loop { $saved << 1 } }.report_on_exception = false
        Thread.pass until $saved.pending.positive?
      RUBY
      expect(output).to eq("").or match(/did not reach/)
      expect(status).to be_success
    end
  end

  it "sends messages when the process ends by an exception, exit, or a signal that raises" do
    ["raise 'mine'", "exit 3", "Process.kill(:TERM, $$); sleep"].each_with_index do |ending, i|
      output, status = run("#{"producer.close; producer = DurableStreams::Producer.new(url: producer.url, " \
                              "producer_id: 'w#{i}', linger_ms: 60_000)"}; producer << #{i}; #{ending}")
      expect(output).not_to include("did not reach")
      expect(status).not_to be_success
    end
    expect(stored).to eq([0, 1, 2])
  end

  it "calls callables and callbacks" do
    output, = run(<<~RUBY)
      other = DurableStreams::Producer.new(url: producer.url, producer_id: "b", linger_ms: 60_000,
                                           headers: { "x" => -> { "y" } }, on_delivery: ->(*) { puts "delivered" })
      other << 1
    RUBY
    expect(output).to eq("delivered\n")
    expect(stored).to eq([1])
  end

  it "gives up in time if the server does not respond, and logs the number of lost messages" do
    faults.on("POST", path, &:hang)
    output = nil
    took = timed { output, = run("3.times { |i| producer << i }", timeout: 60) }
    expect(took).to be_between(4, 5 + AtOnce::SECONDS)
    expect(output).to include("3 appended messages did not reach #{faults.url(path)}: no response within 5.0 s")
  end

  it "logs the number of lost messages and the reason when the producer fails" do
    faults.refuse_connections
    output = nil
    took = timed { output, = run("3.times { |i| producer << i }") }
    expect(took).to be < 5 + AtOnce::SECONDS
    expect(output).to include("3 appended messages did not reach").and match(/refused|could not connect/i)
  end

  it "logs the messages that a garbage-collected producer lost" do
    faults.on("POST", path) { |reply| reply.respond(404) }
    output, = run(<<~RUBY)
      2.times { |i| producer << i }
      Thread.new { DurableStreams::Producer.new(url: #{faults.url(path).dump}, producer_id: "b") << "1" }.join
      GC.start
    RUBY
    expect(output.scan(/(\d) appended messages did not reach/).flatten.sum(&:to_i)).to eq(3)
  end

  it "does not log a failure that the application has seen" do
    faults.on("POST", path) { |reply| reply.respond(404) }
    output, = run("producer << 1; begin; producer.flush; rescue DurableStreams::ProducerError; end")
    expect(output).to eq("")
    output, = run(<<~RUBY)
      options = { url: producer.url, producer_id: "b", linger_ms: 60_000 }
      DurableStreams::Producer.new(**options, on_error: ->(error) { p error.undelivered }) << "1"
    RUBY
    expect(output).to eq("[\"1\"]\n")
  end

  it "logs messages that a callback appended too late, without claiming a timeout" do
    output = nil
    took = timed { output, = run(<<~RUBY) }
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) { producer << 2 }) << 1
    RUBY
    expect(took).to be < 5
    expect(output).to match(/1 appended messages did not reach.*: the process ended before they were acknowledged/)
  end

  it "logs lost messages when a signal ends the wait" do
    faults.on("POST", path, &:hang)
    ended = ChildProcess.program(<<~RUBY, faults.url(path)) do |child|
      DurableStreams::Producer.new(url: ARGV[0], content_type: :json, producer_id: "b", linger_ms: 60_000) << 1
    RUBY
      faults.wait_for_request(method: "POST")
      child.signal("TERM")
    end
    expect(ended.took).to be < 5
    expect(ended.output).to match(/1 appended messages did not reach.*: the process ended before they/)
  end

  it "calls the remaining callbacks although each ends its thread" do
    output, = run(<<~RUBY)
      other = DurableStreams::Producer.new(url: producer.url, producer_id: "b", max_batch_items: 1, max_in_flight: 1,
                                           on_delivery: lambda { |result, _|
                                             puts result.seq
                                             Thread.exit
                                           })
      3.times { |i| other << i }
    RUBY
    expect(output).to eq("0\n1\n2\n")
  end

  it "ends although the VM kills a callable that is still needed" do
    faults.on("POST", path, &:hang)
    took = timed { run(<<~RUBY) }
      producer = DurableStreams::Producer.new(url: producer.url, producer_id: "b", linger_ms: 0,
                                              headers: { "x" => -> { sleep } }, on_delivery: ->(*) {})
      producer << 1
    RUBY
    expect(took).to be_between(4, 5 + AtOnce::SECONDS)
  end

  it "waits a limited time for a callback" do
    output = nil
    took = timed { output, = run(<<~RUBY) }
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) { sleep }).append!("1")
    RUBY
    expect(took).to be < 5 + AtOnce::SECONDS
    expect(output).to eq("")
  end

  it "ends at once if nothing is pending, although a callback thread is alive" do
    output, status = run(<<~RUBY)
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) {}).append!("1")
    RUBY
    expect([output, status.success?]).to eq(["", true])
  end
end
