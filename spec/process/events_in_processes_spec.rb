# frozen_string_literal: true

# Subscribers under forks, fibers, Ractors, trap handlers, the end of the process and the garbage collector.
RSpec.describe "Events" do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path("process"), content_type: :json) }

  after { client.close }

  # Runs a program. Its `url` is that of a new JSON stream. `record` subscribes and puts each event into SEEN.
  # @return [String] its output
  def run(program, options: [], **how)
    preamble = <<~RUBY
      SEEN = Thread::Queue.new
      def url = ARGV[0]
      def stream = @stream ||= DurableStreams::Stream.new(url, content_type: :json)
      def record(name = nil) = DurableStreams.subscribe(name) { |event| SEEN << [event, Thread.current] }
    RUBY
    ended = ChildProcess.program(preamble + program, stream.url, options: options, **how)
    expect(ended.status).to be_success, ended.output
    ended.output
  end

  describe "in a forked child" do
    # What the child saw: names, and whether they came on the callback thread.
    def use_in_child(stream)
      ChildProcess.start do
        seen = record_events
        stream.append(2)
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "child")
        producer.append!(3)
        seen.wait_for { |event| event.name == "batch.durable_streams" }
        seen.names.zip(seen.threads.map(&:name))
      end
    end

    it "go to the parent's subscribers too, each process with its own callback thread" do
      messages = Queue.new
      subscribe("append.durable_streams") { |event| messages << event.payload[:bytes] }
      stream.append("1")
      in_child = ChildProcess.run do
        stream.append("12")
        Array.new(messages.size) { messages.pop }
      end
      expect(in_child).to eq([1, 2])
      expect(messages.size).to eq(1)
      on_callback_thread = "durable_streams callbacks"
      expect(use_in_child(stream).value).to eq(
        [["request", nil], ["append", nil], ["request", on_callback_thread], ["request", on_callback_thread],
         ["batch", on_callback_thread]]
      )
    end

    it "are none of the parent's, although they wait in the parent when it forks" do
      gate = Queue.new
      parent = Process.pid
      stream
      subscribe { gate.pop if Process.pid == parent && Thread.current != Thread.main }
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "parent", max_batch_items: 1)
      5.times { |number| producer << number }
      producer.flush
      seen_by_child = use_in_child(stream)
      expect(seen_by_child.value.map(&:first)).to eq(%w[request append request request batch])
      gate.close
      producer.close
    end

    it "are none of the parent's if a subscriber forks, and the call ends in the child" do
      output = run(<<~RUBY)
        record
        pid = 0
        DurableStreams.subscribe("request.durable_streams") { pid = fork if pid == 0 }
        names = -> { Array.new(SEEN.size) { SEEN.pop.first.name[/\\w+/] }.inspect }
        begin
          stream.append("1")
          Process.wait(pid)
          puts "parent: \#{names.call}"
        rescue DurableStreams::ConnectionError => e
          puts "child: \#{e.message}: \#{names.call}"
          $stdout.flush
          exit!
        end
      RUBY
      names = '["request", "append"]'
      expect(output.lines(chomp: true))
        .to match([/\Achild: the process forked during .*: #{Regexp.escape(names)}\z/, "parent: #{names}"])
    end
  end

  describe "under a Fiber scheduler", if: RUBY_VERSION >= "3.1" do
    it "come in the fiber whose call they belong to" do
      seen = []
      stream.append(0)
      subscribe { |event| seen << [event.name, Fiber.current] }
      fibers = SmallScheduler.run do
        Array.new(4) do |number|
          Fiber.schedule do
            stream.append(number)
            stream.read_json.to_a
          end
        end
      end
      by_fiber = seen.group_by(&:last).slice(*fibers).transform_values { |events| events.map(&:first) }
      expect(by_fiber.keys).to match_array(fibers)
      appends = by_fiber.values.map { |names| names.map { |name| name[/\w+/] } }
      expect(appends.map { |names| names.count("append") }).to eq([1] * 4)
      expect(appends.map { |names| names.last(2) }).to all(eq(%w[request read]))
    end

    it "let other fibers run while a subscriber waits" do
      order = []
      stream.append(0)
      SmallScheduler.run do
        gate = Queue.new
        subscribe("append.durable_streams") do |event|
          gate.pop if event.payload[:bytes] == 1
          order << event.payload[:bytes]
          gate << true
        end
        Fiber.schedule { stream.append("1") }
        Fiber.schedule { stream.append("12") }
      end
      expect(order).to eq([2, 1])
    end

    it "of a fiber that is collected while its subscriber waits do no harm" do
      stream
      subscribe("request.durable_streams") { Fiber.yield unless Fiber.current.blocking? }
      SmallScheduler.run do |scheduler|
        3.times { scheduler.fiber { stream.append(1) } }
        scheduler.step until stream_items == 3
        scheduler.forget
        GC.start
      end
      event_subscriptions.each(&:unsubscribe)
      expect(stream.append(2).next_offset).to eq(stream.head.next_offset)
    end

    # Read without this library's events.
    def stream_items
      JSON.parse(Net::HTTP.get(URI(stream.url))).size
    end
  end

  if RUBY_VERSION >= "3.1" # See ractor_spec.
    it "of other Ractors are dropped, and cannot be subscribed to there" do
      output = run(<<~RUBY)
        def result_of(ractor) = ractor.respond_to?(:value) ? ractor.value : ractor.take
        record
        p(Ractor.new(url) do |url|
          stream = DurableStreams::Client.new(base_url: url).stream(url, content_type: :json)
          stream.append("1")
          begin
            stream.append("{")
          rescue DurableStreams::ParseError
            stream.read_json.to_a
          end
          begin
            DurableStreams.subscribe { nil }
          rescue Ractor::IsolationError => e
            [stream.read_json.to_a, e.message]
          end
        end.then { |ractor| result_of(ractor) })
        p SEEN.size
        stream.append("2")
        p SEEN.size
      RUBY
      expect(output).to eq("[[1], \"subscribe works only in the main Ractor\"]\n0\n2\n")
    end
  end

  it "of a call in a trap handler go to the callback thread, where subscribers can lock" do
    output = run(<<~RUBY)
      lock = Mutex.new
      DurableStreams.subscribe { |event| lock.synchronize { SEEN << [event, Thread.current] } }
      trap("USR1") { stream.append("1") }
      Process.kill("USR1", Process.pid)
      2.times do
        event, thread = SEEN.pop
        puts [event.name, event.payload[:status] || event.payload[:bytes], thread.name].join(" ")
      end
    RUBY
    expect(output.lines(chomp: true)).to match(
      [/\Arequest.durable_streams 20\d durable_streams callbacks\z/,
       "append.durable_streams 1 durable_streams callbacks"]
    )
  end

  describe "at the end of the process" do
    it "are those of the producers that it flushes" do
      output = run(<<~RUBY)
        DurableStreams.subscribe("batch.durable_streams") { |event| puts event.payload[:messages] }
        producer = DurableStreams::Producer.new(url: url, producer_id: "p", linger_ms: 60_000)
        3.times { |number| producer << number }
      RUBY
      expect(output).to eq("3\n")
    end

    it "are those of every batch of a producer, however many wait for a subscriber" do
      output = run(<<~RUBY)
        producer = DurableStreams::Producer.new(url: url, producer_id: "p", max_batch_items: 1)
        DurableStreams.subscribe("batch.durable_streams") { print(stream.head.exists? ? "." : "?") }
        100.times { |number| producer << number }
      RUBY
      expect(output).to eq("." * 100)
    end

    it "are those of the producers of an application that runs in an at_exit block" do
      output = run(<<~RUBY)
        at_exit do
          DurableStreams.subscribe("batch.durable_streams") { |event| puts event.payload[:messages] }
          producer = DurableStreams::Producer.new(url: url, producer_id: "p", linger_ms: 60_000)
          3.times { |number| producer << number }
        end
      RUBY
      expect(output).to eq("3\n")
    end

    it "do not keep the process alive, however slow a subscriber is" do
      took = timed do
        output = run(<<~RUBY)
          DurableStreams.subscribe("batch.durable_streams") { Thread.stop }
          DurableStreams::Producer.new(url: url, producer_id: "p").append("1")
        RUBY
        expect(output).to eq("")
      end
      expect(took).to be < 30
    end

    it "start no thread if nobody has subscribed, or nothing was sent" do
      expect(run("stream.append(1); p Thread.list.size")).to eq("1\n")
      expect(run("record; p Thread.list.size; stream.append(1); p Thread.list.size")).to eq("1\n2\n")
    end
  end

  it "are whole while the garbage collector runs at every allocation and moves objects" do
    output = run(<<~RUBY, environment: MovingObjects::ENVIRONMENT, options: ["-r", MovingObjects::FILE], timeout: 600)
      MovingObjects.enable
      events = []
      lock = Mutex.new
      DurableStreams.subscribe { |event| lock.synchronize { events << event } }
      GC.stress = true
      stream.append({ "a" => 1 })
      stream.read_json.to_a
      stream.read(&:next)
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", max_batch_items: 1)
      2.times { |number| producer.append!(number) }
      missing = DurableStreams::Stream.new(url + "-none", content_type: :json)
      begin
        missing.append(1)
      rescue DurableStreams::StreamNotFoundError
        failing = DurableStreams::Producer.new(stream: missing, producer_id: "q")
        begin
          failing.append!(1)
        rescue DurableStreams::ProducerError
          GC.stress = false
        end
      end
      failing.close rescue nil
      DurableStreams::CallbackThreads.finish(60)
      GC.start
      names = lock.synchronize { events.map { |event| event.name[/\\w+/] } }.tally
      puts names.sort.flatten.join(" ")
      puts events.map { |event| event.error.class }.uniq.map(&:to_s).sort.join(" ")
      puts events.all? { |event| event.payload[:url].start_with?(url) && event.time.is_a?(Time) && event.duration >= 0 }
      appended = events.select { |event| event.name.start_with?("append") }.map(&:payload)
      puts appended.map { |payload| [payload[:bytes], payload[:together]] }.inspect
    RUBY
    expect(output.lines(chomp: true)).to match(
      [/\Aappend 2 batch 3 producer_failed 1 read \d+ request \d+\z/, "DurableStreams::StreamNotFoundError NilClass",
       "true", "[[7, 1], [1, 1]]"]
    )
  end
end
