# frozen_string_literal: true

require "timeout"

# An interrupt ends a waiting call at once, and everything is usable afterwards.
RSpec.describe "Interrupting" do
  include_context "with a client of the fault server"

  let(:patient) { DurableStreams::RetryPolicy.new(initial_delay: 1000, max_delay: 1000) }
  let(:client_options) { { timeout: 60, retry_policy: patient } }
  let(:bytes) { client.stream("/b", content_type: "application/octet-stream") }
  # Not a fresh producer (next_seq is given), so that its batches are its only requests.
  let(:producer) do
    DurableStreams::Producer.new(stream: stream, producer_id: "p", next_seq: 0, max_buffered_bytes: 8, linger_ms: 0)
  end
  let(:stuck) { @stuck }

  after do
    faults.open("go")
    @stuck&.stop
  end

  def stuck_stream(kind, scheme: "http")
    @stuck = StuckServer.public_send(kind)
    client.stream("#{scheme}://127.0.0.1:#{@stuck.port}/s", content_type: "application/octet-stream")
  end

  # Makes the responses to a producer's batches wait until "go".
  def delay_deliveries
    faults.on do |reply|
      reply.wait("go")
      reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
    end
  end

  # Makes the next response to a reader stop in its middle until "go".
  def delay_body
    faults.next do |reply|
      reply.head(200, "stream-next-offset" => "6", "stream-up-to-date" => "true")
      reply.chunk("abc")
      reply.wait("go")
    end
    @reader = bytes.read_bytes
  end

  # Sends whole responses to that reader from now on.
  def complete_body
    faults.on { |reply| reply.respond(200, "abcdef", "stream-next-offset" => "6", "stream-up-to-date" => "true") }
    @reader
  end

  # Checks that the producer has delivered everything.
  def expect_delivered
    faults.open("go")
    producer.close
    expect(producer.pending).to eq(0)
  end

  # Each state: how to prepare the call, how to wait until the call has reached the state, and what must work
  # afterwards.
  states = {
    "connecting" => {
      prepare: -> { @call = stuck_stream(:unreachable).method(:head) },
      reached: ->(thread) { Thread.pass until thread.stop? }
    },
    "in the TLS handshake" => {
      prepare: -> { @call = stuck_stream(:silent, scheme: "https").method(:head) },
      reached: ->(_) { stuck.wait_for_arrival }
    },
    "sending a large body" => {
      prepare: lambda do
        stream = stuck_stream(:silent)
        @call = -> { stream.append("x" * 30_000_000) }
      end,
      reached: ->(_) { stuck.wait_for_arrival }
    },
    "waiting for a response" => {
      prepare: lambda do
        faults.on { |reply| reply.wait("go") }
        @call = -> { stream.append(1) }
      end,
      reached: ->(_) { faults.wait_for_request }
    },
    "waiting in a long-poll" => {
      prepare: lambda do
        faults.on { |reply| reply.wait("go") }
        @call = -> { stream.read(live: :long_poll).first }
      end,
      reached: ->(_) { faults.wait_for_request }
    },
    "waiting for an event" => {
      prepare: lambda do
        faults.on do |reply|
          reply.head(200, "content-type" => "text/event-stream")
          reply.wait("go")
        end
        @call = -> { stream.read(live: :sse).first }
      end,
      reached: ->(_) { faults.wait_until_waiting("go") }
    },
    "in the middle of a response" => {
      prepare: -> { @call = delay_body.method(:first) },
      reached: ->(_) { faults.wait_until_waiting("go") },
      after: -> { expect(complete_body.body).to eq("abcdef") }
    },
    "in the middle of a response, in next" => {
      # The reader has already taken the first part when it waits for the rest.
      prepare: -> { @call = delay_body.method(:next) },
      reached: lambda do |thread|
        faults.wait_until_waiting("go")
        Thread.pass until thread.stop?
      end,
      after: -> { expect(complete_body.next.data).to eq("abcdef") }
    },
    "in the pause before a retry" => {
      prepare: lambda do
        faults.on { |reply| reply.respond(503) }
        @call = -> { stream.head }
      end,
      reached: ->(_) { faults.wait_until_responded(1) }
    },
    "waiting for room in a producer" => {
      prepare: lambda do
        delay_deliveries
        producer.append("\"12345\"")
        faults.wait_for_request
        @call = -> { producer.append("\"67890\"") }
      end,
      reached: ->(thread) { Thread.pass until thread.stop? },
      after: lambda do
        faults.open("go")
        producer.append(3)
        producer.close
        expect(faults.requests(method: "POST").map(&:body)).to eq(["[\"12345\"]", "[3]"])
      end
    },
    "flushing a producer" => {
      prepare: lambda do
        delay_deliveries
        producer.append(1)
        faults.wait_for_request
        @call = -> { producer.flush }
      end,
      reached: ->(thread) { Thread.pass until thread.stop? },
      after: lambda do
        faults.open("go")
        producer.append(2)
        producer.flush
        expect(faults.requests(method: "POST").map(&:body)).to eq(["[1]", "[2]"])
      end
    },
    "closing a producer" => {
      prepare: lambda do
        delay_deliveries
        producer.append(1)
        faults.wait_for_request
        @call = -> { producer.close }
      end,
      reached: ->(thread) { Thread.pass until thread.stop? },
      after: -> { expect_delivered }
    },
    "waiting for a producer's acknowledgement" => {
      prepare: lambda do
        delay_deliveries
        @call = -> { producer.append!(1) }
      end,
      reached: ->(_) { faults.wait_for_request },
      after: -> { expect_delivered }
    }
  }

  # How to interrupt a thread, and the error with which it then ends.
  interrupts = {
    "Thread#kill" => [lambda(&:kill), nil],
    "Thread#raise" => [->(thread) { thread.raise(Interrupt, "enough") }, Interrupt]
  }

  def run_to(reached)
    thread = Thread.new { @call.call }
    thread.report_on_exception = false
    instance_exec(thread, &reached)
    thread
  end

  def outcome_of(thread)
    thread.join
    nil
  rescue Exception => e # rubocop:disable Lint/RescueException -- an Interrupt is looked for
    e
  end

  def expect_usable(state)
    return instance_exec(&state[:after]) if state[:after]

    faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
    expect(stream.append(1).next_offset).to eq("1")
    expect(stream.read_json.to_a).to eq([1])
  end

  states.each do |name, state|
    describe name do
      before { instance_exec(&state[:prepare]) }

      interrupts.each do |interrupt, (act, expected)|
        it "ends on #{interrupt}, and everything can be used afterwards" do
          thread = run_to(state[:reached])
          started = now
          act.call(thread)
          error = outcome_of(thread)
          expect(now - started).to be < AtOnce::SECONDS
          expected ? expect(error).to(be_a(expected)) : expect(error).to(be_nil)
          expect_usable(state)
        end
      end

      it "ends on Timeout.timeout" do
        started = now
        expect { Timeout.timeout(0.1) { @call.call } }.to raise_error(Timeout::Error)
        expect(now - started).to be < 0.1 + AtOnce::SECONDS
        expect_usable(state)
      end

      it "ends on a masked exception only after the mask has ended" do
        entered = Thread::Queue.new
        raised = Thread::Queue.new
        leave = false
        thread = Thread.new do
          Thread.handle_interrupt(IOError => :never) do
            entered << true
            Timeout.timeout(0.2) { @call.call }
          rescue Timeout::Error
            leave = true
            raised.pop
          end
        end
        thread.report_on_exception = false
        entered.pop
        thread.raise(IOError, "masked")
        raised << true
        expect(outcome_of(thread)).to be_a(IOError)
        expect(leave).to be(true)
      end
    end
  end

  describe "also ends the request of" do
    requests = {
      "a head" => ->(stream) { stream.head },
      "an append" => ->(stream) { stream.append(1) },
      "a long-poll" => ->(stream) { stream.read(live: :long_poll).first },
      "an event stream" => ->(stream) { stream.read(live: :sse).first }
    }
    requests.each do |name, call|
      { "" => {}, " with a computed header" => { "X-Token" => -> { "t" } } }.each do |how, headers|
        it "#{name}#{how}" do
          faults.on { |reply| reply.wait("go") }
          stream = client.stream("/s", content_type: "application/json", headers: headers)
          thread = Thread.new { call.call(stream) }
          faults.wait_for_request
          thread.kill.join
          faults.wait_until_closed(by: :client)
        end
      end
    end

    it "appends that share a request, after all their threads are interrupted" do
      faults.on { |reply| reply.wait("go") }
      faults.next do |reply|
        reply.wait("first")
        reply.respond(200, "", "stream-next-offset" => "1")
      end
      appending = ->(number) { Thread.new { stream.append(number) }.tap { |thread| Thread.pass until thread.stop? } }
      threads = [appending.call(0)]
      faults.wait_for_request
      threads += [1, 2].map(&appending)
      faults.open("first")
      shared = faults.wait_for_request(2)
      expect(shared.body).to eq("[1,2]")
      threads.each { |thread| thread.kill.join }
      faults.wait_until_closed(shared.connection, by: :client)
    end
  end

  describe "a program by SIGINT" do
    { "reads by long-poll" => "long_poll", "reads by SSE" => "sse" }.each do |name, live|
      it "ends it at once while it #{name}" do
        faults.on do |reply|
          reply.head(200, "content-type" => "text/event-stream") if live == "sse"
          reply.wait("go")
        end
        ended = ChildProcess.program(<<~RUBY, faults.url, live) do |child|
          client = DurableStreams::Client.new(base_url: ARGV[0])
          begin
            client.stream("/s", content_type: "application/json").read(live: ARGV[1].to_sym).each { p 1 }
          rescue Interrupt
            puts "interrupted"
          end
        RUBY
          faults.wait_for_request
          child.signal("INT")
        end
        expect(ended.output).to eq("interrupted\n")
        expect(ended.took).to be < AtOnce::SECONDS
      end
    end

    it "runs its trap handlers, which may close the reader" do
      faults.on { |reply| reply.wait("go") }
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        client = DurableStreams::Client.new(base_url: ARGV[0])
        reader = client.stream("/s", content_type: "application/json").read(live: :long_poll)
        trap("INT") { reader.close }
        reader.each { p 1 }
        puts "ended"
      RUBY
        faults.wait_for_request
        child.signal("INT")
      end
      expect(ended.output).to eq("ended\n")
      expect(ended.took).to be < AtOnce::SECONDS
    end

    it "runs its trap handlers, which may append to the stream whose append they interrupt" do
      faults.next("POST") { |reply| reply.wait("go").respond(204, "stream-next-offset" => "1") }
      faults.on("POST") { |reply| reply.respond(204, "stream-next-offset" => "2") }
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        stream = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: :json)
        trap("USR1") do
          puts stream.append(2).next_offset
          $stdout.flush
        end
        puts stream.append(1).next_offset
      RUBY
        faults.wait_until_waiting("go")
        child.signal("USR1")
        child.wait_for(/2\n/)
        faults.open("go")
      end
      expect(ended.output).to eq("2\n1\n")
      expect(faults.requests(method: "POST").map(&:body)).to eq(%w[[1] [2]])
    end

    it "runs its trap handlers for signals in quick succession" do
      faults.on { |reply| reply.wait("go") }
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        trap("USR1") { $stdout.syswrite(".") }
        client = DurableStreams::Client.new(base_url: ARGV[0])
        begin
          client.stream("/s", content_type: "application/json").head
        rescue Interrupt
          $stdout.syswrite("interrupted")
        end
      RUBY
        faults.wait_for_request
        500.times { child.signal("USR1") }
        child.wait_for(/\./)
        child.signal("INT")
      end
      # Ruby handles pending signals in the order of their numbers.
      expect(ended.output).to match(/\A\.+interrupted\.*\z/)
    end
  end
end
