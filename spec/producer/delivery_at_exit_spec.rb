# frozen_string_literal: true

require "tempfile"

RSpec.describe DurableStreams::Producer, "at the end of a process", :producer do
  # Runs a program in a process of its own. Its `producer` writes to this example's stream and sends nothing by itself.
  # @return [Array] what it printed, on both, and how it ended
  def run(program, url: faults.url(path), timeout: 5)
    preamble = <<~RUBY
      client = DurableStreams::Client.new(timeout: #{timeout})
      producer = DurableStreams::Producer.new(url: #{url.dump}, client: client, producer_id: "writer", linger_ms: 60_000)
    RUBY
    ChildProcess.outcome(preamble + program)
  end

  it "sends what was appended and never flushed" do
    output, status = run("1_000.times { |i| producer << i }")
    expect(output).to eq("")
    expect(status).to be_success
    expect(stored).to eq((0...1_000).to_a)
  end

  it "sends what is appended by the application's own at_exit" do
    run("at_exit { producer << 2 }; producer << 1")
    expect(stored).to eq([1, 2])
  end

  # Sinatra and minitest/autorun register, as they are required, a block that runs the application. Blocks run last one
  # first: this one is older than the library's.
  describe "with an application that runs in an at_exit block from before the library was loaded" do
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

    it "sends what a producer from then, or from before, was given" do
      ["$saved = producer(producer_id: 'new'); $saved << 1; $saved << 2", "$saved << 3",
       "Thread.new { $saved << 4 }.join; at_exit { $saved << 5 }",
       "Process.wait(fork { producer(producer_id: 'forked') << 6 })"].each_with_index do |application, i|
        expect(run(application, before: "$saved = producer(producer_id: 'w#{i}')").first).to eq("")
      end
      expect(stored).to eq([1, 2, 3, 4, 5, 6])
    end

    it "logs what it could not send" do
      faults.on("POST", path) { |reply| reply.respond(404) }
      expect(run("$old = producer(producer_id: 'w'); $old << 1").first).to match(/1 appended messages did not reach/)
    end

    it "starts threads that died anew" do
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

    it "ends though a thread appends for ever" do
      output, status = run(<<~RUBY, before: "$saved = producer(producer_id: 'w', linger_ms: 0)")
        Thread.new { loop { $saved << 1 } }.report_on_exception = false
        Thread.pass until $saved.pending.positive?
      RUBY
      expect(output).to eq("").or match(/did not reach/)
      expect(status).to be_success
    end
  end

  it "sends when the process ends by an exception, by exit, or by a signal that raises" do
    ["raise 'mine'", "exit 3", "Process.kill(:TERM, $$); sleep"].each_with_index do |ending, i|
      output, status = run("#{"producer.close; producer = DurableStreams::Producer.new(url: producer.url, " \
                              "producer_id: 'w#{i}', linger_ms: 60_000)"}; producer << #{i}; #{ending}")
      expect(output).not_to include("did not reach")
      expect(status).not_to be_success
    end
    expect(stored).to eq([0, 1, 2])
  end

  it "calls callables and callbacks until then" do
    output, = run(<<~RUBY)
      other = DurableStreams::Producer.new(url: producer.url, producer_id: "b", linger_ms: 60_000,
                                           headers: { "x" => -> { "y" } }, on_delivery: ->(*) { puts "delivered" })
      other << 1
    RUBY
    expect(output).to eq("delivered\n")
    expect(stored).to eq([1])
  end

  it "gives up in time on a server that says nothing, and logs how much was lost" do
    faults.on("POST", path, &:hang)
    output = nil
    took = timed { output, = run("3.times { |i| producer << i }", timeout: 60) }
    expect(took).to be_between(4, 5 + AtOnce::SECONDS)
    expect(output).to include("3 appended messages did not reach #{faults.url(path)}: no response within 5.0 s")
  end

  it "logs how much was lost, and why, when the producer fails at the end" do
    faults.refuse_connections
    output = nil
    took = timed { output, = run("3.times { |i| producer << i }") }
    expect(took).to be < 5 + AtOnce::SECONDS
    expect(output).to include("3 appended messages did not reach").and match(/refused|could not connect/i)
  end

  it "logs what a producer lost that was collected as garbage" do
    faults.on("POST", path) { |reply| reply.respond(404) }
    output, = run(<<~RUBY)
      2.times { |i| producer << i }
      Thread.new { DurableStreams::Producer.new(url: #{faults.url(path).dump}, producer_id: "b") << "1" }.join
      GC.start
    RUBY
    expect(output.scan(/(\d) appended messages did not reach/).flatten.sum(&:to_i)).to eq(3)
  end

  it "logs no failure that the application was told of" do
    faults.on("POST", path) { |reply| reply.respond(404) }
    output, = run("producer << 1; begin; producer.flush; rescue DurableStreams::ProducerError; end")
    expect(output).to eq("")
    output, = run(<<~RUBY)
      options = { url: producer.url, producer_id: "b", linger_ms: 60_000 }
      DurableStreams::Producer.new(**options, on_error: ->(error) { p error.undelivered }) << "1"
    RUBY
    expect(output).to eq("[\"1\"]\n")
  end

  it "logs what a callback appended too late, and names no time that did not pass" do
    output = nil
    took = timed { output, = run(<<~RUBY) }
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) { producer << 2 }) << 1
    RUBY
    expect(took).to be < 5
    expect(output).to match(/1 appended messages did not reach.*: the process ended before they were acknowledged/)
  end

  it "logs what was lost where a signal ends the wait for it" do
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

  it "calls the callbacks that are left though each ends its thread" do
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

  it "ends though every callback and callable is killed when all is over, with more to do" do
    faults.on("POST", path, &:hang)
    took = timed { run(<<~RUBY) }
      producer = DurableStreams::Producer.new(url: producer.url, producer_id: "b", linger_ms: 0,
                                              headers: { "x" => -> { sleep } }, on_delivery: ->(*) {})
      producer << 1
    RUBY
    expect(took).to be_between(4, 5 + AtOnce::SECONDS)
  end

  it "does not wait for ever for a callback" do
    output = nil
    took = timed { output, = run(<<~RUBY) }
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) { sleep }).append!("1")
    RUBY
    expect(took).to be < 5 + AtOnce::SECONDS
    expect(output).to eq("")
  end

  it "takes no time where nothing is pending, and a thread that calls back does not keep it alive" do
    output, status = run(<<~RUBY)
      DurableStreams::Producer.new(url: producer.url, producer_id: "b", on_delivery: ->(*) {}).append!("1")
    RUBY
    expect([output, status.success?]).to eq(["", true])
  end
end
