# frozen_string_literal: true

# Several Ractors use the library at the same time, each with its own clients. Callbacks and the default context work in
# the main Ractor only; others raise an error. The Ractors here start no threads: on Ruby 3.3 such Ractors sometimes
# hang, even if the threads only sleep and the library is not loaded.
return if RUBY_VERSION < "3.1" # Ractors cannot read the settings of modules there.

RSpec.describe "Ractors" do
  # Runs a program in a new process, because a second Ractor changes a process for good.
  def run(source, *arguments)
    prelude = "def result_of(ractor) = ractor.respond_to?(:value) ? ractor.value : ractor.take\n"
    ended = ChildProcess.program(prelude + source, server_url, *arguments)
    expect(ended.status).to be_success, ended.output
    ended.output
  end

  it "use the library at the same time, each with its own clients" do
    output = run(<<~RUBY)
      ractors = Array.new(4) do |index|
        Ractor.new(ARGV[0], "/specs/ractor-\#{Process.pid}-\#{index}") do |url, path|
          client = DurableStreams::Client.new(base_url: url, headers: { "X-Token" => -> { "token" } })
          stream = client.create(path, content_type: :json)
          30.times { |number| stream.append({ "number" => number }) }
          plain = DurableStreams::Client.new(base_url: url).stream(path, content_type: :json)
          producer = DurableStreams::Producer.new(stream: plain, producer_id: "p")
          30.times { |number| producer.append({ "number" => 30 + number }) }
          producer.close
          wrong = begin
            stream.append("{")
          rescue DurableStreams::ParseError => e
            e.class
          end
          missing = DurableStreams::Client.new(base_url: url).stream("/specs/none").exists?
          live = %i[long_poll sse auto].map { |live| stream.read_json(live: live).first(60).size }
          numbers = Array.new(3) { stream.read.flat_map(&:items).map { |item| item["number"] } }
          [numbers.uniq == [[*0...60]], live, wrong.name, missing]
        end
      end
      p ractors.map { |ractor| result_of(ractor) }.uniq
    RUBY
    expect(output).to eq("[[true, [60, 60, 60], \"DurableStreams::ParseError\", false]]\n")
  end

  it "have no events, and are not disturbed by the main Ractor's subscriptions" do
    output = run(<<~RUBY)
      events = []
      DurableStreams.subscribe { |event| events << event.name }
      p(Ractor.new(ARGV[0], "/specs/ractor-events-\#{Process.pid}") do |url, path|
        stream = DurableStreams::Client.new(base_url: url).create(path, content_type: :json)
        stream << 1
        [*stream.read_json(live: :auto).first(1), *stream.read_all]
      end.then { |ractor| result_of(ractor) }, events)
    RUBY
    expect(output).to eq("[1, 1]\n[]\n")
  end

  it "read the expiry of a stream" do
    output = run(<<~RUBY)
      path = "/specs/ractor-expiry-\#{Process.pid}"
      DurableStreams::Client.new(base_url: ARGV[0]).create(path, expires_at: Time.at(4_000_000_000))
      p(Ractor.new(ARGV[0], path) do |url, path|
        client = DurableStreams::Client.new(base_url: url)
        [client.stream(path).exists?, client.connect(path).head.expires_at.to_i]
      end.then { |ractor| result_of(ractor) })
    RUBY
    expect(output).to eq("[true, 4000000000]\n")
  end

  it "get the exception of a producer's block if closing fails too, and log the second error" do
    output = run(<<~RUBY)
      p(Ractor.new(ARGV[0]) do |url|
        stream = DurableStreams::Client.new(base_url: url).stream("/specs/none", content_type: :json)
        DurableStreams::Producer.open(stream: stream, producer_id: "p") do |producer|
          producer << 1
          raise KeyError, "mine"
        end
      rescue KeyError => e
        e.message
      end.then { |ractor| result_of(ractor) })
    RUBY
    expect(output).to match(/closing a producer failed.*StreamNotFoundError/).and match(/^"mine"$/)
  end

  it "use the library during garbage collections" do
    output = run(<<~RUBY)
      ractors = Array.new(3) do |index|
        Ractor.new(ARGV[0], "/specs/ractor-gc-\#{Process.pid}-\#{index}") do |url, path|
          stream = DurableStreams::Client.new(base_url: url).create(path, content_type: :json)
          20.times do |number|
            stream.append([number, "x" * number])
            GC.start
          end
          stream.read_json.to_a.sum(&:first)
        end
      end
      p ractors.map { |ractor| result_of(ractor) }
    RUBY
    expect(output).to eq("[190, 190, 190]\n")
  end

  # What the library makes once, at its first use, must not have a Ractor wait for another one that waits for a garbage
  # collection, which waits for all Ractors.
  it "use the library for the first time while every allocation collects garbage" do
    outputs = Array.new(3) do
      Thread.new { run(<<~RUBY) }
        ractors = Array.new(4) do
          Ractor.new do
            Ractor.receive
            policy = DurableStreams::RetryPolicy.new(max_retries: 0)
            client = DurableStreams::Client.new(base_url: "http://127.0.0.1:1", retry_policy: policy)
            client.stream("/s", content_type: :json).read_json.first
          rescue DurableStreams::ConnectionError => e
            e.class
          end
        end
        GC.stress = true
        ractors.each { |ractor| ractor.send(nil) }
        classes = ractors.map { |ractor| result_of(ractor) }
        GC.stress = false
        p classes.uniq
      RUBY
    end
    expect(outputs.map(&:value)).to all(eq("[DurableStreams::ConnectionError]\n"))
  end

  it "raise an error for callbacks and for clients of other Ractors, except in the main Ractor" do
    output = run(<<~RUBY)
      p(Ractor.new(ARGV[0]) do |url|
        stream = DurableStreams::Client.new(base_url: url).stream("/specs/ractor", content_type: :json)
        [-> { DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: ->(*) {}) },
         -> { DurableStreams.default_context }].map do |call|
          call.call
        rescue Ractor::IsolationError => e
          e.class
        end
      end.then { |ractor| result_of(ractor) })
      begin
        Ractor.make_shareable(DurableStreams::Client.new)
      rescue Ractor::Error => e
        p e.class
      end
    RUBY
    expect(output).to eq("[Ractor::IsolationError, Ractor::IsolationError]\nRactor::Error\n")
  end
end
