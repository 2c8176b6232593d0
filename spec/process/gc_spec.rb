# frozen_string_literal: true

# The GC may run at any allocation and may move objects, and native memory is reported to it. The programs are small,
# because with GC.stress every allocation collects. ROUNDS makes them longer: see `rake spec:gc_stress`.
RSpec.describe "Garbage collection" do
  rounds = Integer(ENV.fetch("ROUNDS", "1"))

  # Uses the whole library once.
  everything = <<~RUBY
    ROUNDS = Integer(ARGV[1])
    def everything(url, round)
      headers = { "X-Token" => -> { "token-\#{round}" } }
      client = DurableStreams::Client.new(base_url: url, headers: headers, params: { "q" => -> { "1" } })
      stream = client.create("/specs/gc-\#{Process.pid}-\#{round}", content_type: :json)
      stream.append({ "key" => ["väl", { "ue" => [1, 2.5, 10**30, nil] }], "k\\n" => "x" * 100 })
      stream.append([1, [2]], seq: "1")
      expected = [{ "key" => ["väl", { "ue" => [1, 2.5, 10**30, nil] }], "k\\n" => "x" * 100 }, [1, [2]]]
      raise "items" unless stream.read_json.to_a == expected
      raise "batches" unless stream.read.flat_map(&:items) == expected
      raise "bytes" unless JSON.parse(stream.read_bytes.body) == expected
      raise "next" unless stream.read_json.next == expected.first
      heard = Thread::Queue.new
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: ->(*delivery) { heard << delivery })
      producer.append({ "n" => round })
      producer.append!("{}")
      heard.pop
      begin
        producer.append("{")
      rescue DurableStreams::ParseError => e
        e.message
      end
      producer.close
      begin
        client.stream("/specs/none-\#{round}").head
      rescue DurableStreams::StreamNotFoundError => e
        raise "error" unless e.status == 404 && e.headers.is_a?(Hash)
      end
      tail = Thread.new { stream.read_json(offset: "now", live: :long_poll).first }
      tail.join(0.01)
      stream.append("\\"tail\\"") until tail.join(0.01)
      stream.close_stream
      stream.delete
      client.close
    end
  RUBY

  def run(source, rounds)
    how = { environment: MovingObjects::ENVIRONMENT, options: ["-r", MovingObjects::FILE], timeout: 600 * rounds }
    ended = ChildProcess.program(source, server_url, rounds.to_s, **how)
    expect(ended.output).to eq("fine\n")
    expect(ended.status).to be_success
  end

  it "at every allocation that moves objects leaves every result correct" do
    run(<<~RUBY, rounds)
      #{everything}
      MovingObjects.enable
      GC.stress = true
      ROUNDS.times { |round| everything(ARGV[0], round) }
      puts "fine"
    RUBY
  end

  it "at every allocation that moves objects does not move the results of an unfinished JSON parse" do
    run(<<~RUBY, rounds)
      MovingObjects.enable
      # More objects than fit into the extension's array on the stack.
      text = JSON.generate([Array.new(300, &:to_s), { "key" => ["x" * 100] }])
      GC.stress = true
      items = DurableStreams::Native.parse_items(text)
      GC.stress = false
      puts items == JSON.parse("[\#{text}]") ? "fine" : items
    RUBY
  end

  it "that moves objects leaves every result correct" do
    run(<<~RUBY, rounds)
      #{everything}
      MovingObjects.enable
      (ROUNDS * 5).times do |round|
        everything(ARGV[0], round)
        GC.start
      end
      puts "fine"
    RUBY
  end

  if GC.respond_to?(:verify_compaction_references)
    it "that moves every object leaves every reference correct" do
      run(<<~RUBY, rounds)
        #{everything}
        live = []
        (ROUNDS * 2).times do |round|
          everything(ARGV[0], round)
          client = DurableStreams::Client.new(base_url: ARGV[0])
          token = "token-\#{round}" * 3
          headers = { "X-Token" => -> { token } }
          stream = client.create("/specs/live-\#{Process.pid}-\#{round}", content_type: :json, headers: headers)
          reader = stream.append(1) && stream.append(2) && stream.read_json
          reader.next
          producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: ->(*) { token << "!" })
          live << [stream, reader, producer]
          MovingObjects.compact
          live.each do |a, b, c|
            c.append!({ "a" => round })
            raise "lost" unless (b.to_a + b.to_a).last == { "a" => round } && a.head.next_offset
          end
        end
        puts "fine"
      RUBY
    end

    it "that moves objects while a stream stores its callables leaves them correct" do
      run(<<~RUBY, rounds)
        # The stream calls respond_to? on it after it has stored the other callables.
        class Mover
          def call = "moved"

          def respond_to?(*)
            MovingObjects.compact
            super
          end
        end

        called = []
        # Many, because the GC cannot move the few to which remains of earlier calls on the stack refer.
        names = Array.new(40) { |number| "x-callable-\#{number}" }
        given = ->(kind) { names.to_h { |name| [name, -> { called << [kind, name] && "1" }] }.merge!("x-mover" => Mover.new) }
        client = DurableStreams::Client.new(base_url: ARGV[0])
        stream = client.stream("/specs/none", headers: given.call(:header), params: given.call(:param))
        Array.new(100_000) { +"reuses the memory of moved objects" }
        begin
          stream.head
        rescue DurableStreams::StreamNotFoundError
          puts called == %i[header param].product(names) ? "fine" : called
        end
      RUBY
    end

    it "that moves objects whenever the application's code runs leaves every reference correct" do
      run(<<~RUBY, rounds)
        # JSON.parse parses the unusual values in the middle of the others.
        JSON.singleton_class.prepend(Module.new { def parse(*, **) = super.tap { MovingObjects.compact } })
        plain = Array.new(70) { |number| JSON.generate({ "key-\#{number}" => [number, "text"], "key" => {} }) }
        text = [plain, "1.00000000000000000001", plain, "1.00000000000000000002", plain].join(",")
        items = DurableStreams::Native.parse_items(text)
        raise "items" unless items == JSON.parse("[\#{text}]")

        moves = -> { MovingObjects.compact && "1" }
        client = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Moves" => moves }, params: { "q" => moves })
        stream = client.create("/specs/moving-\#{Process.pid}", content_type: :json)
        heard = Thread::Queue.new
        callback = ->(*delivery) { MovingObjects.compact && heard << delivery }
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: callback)
        3.times do |number|
          stream.append(number)
          producer.append(number)
          producer.flush
          heard.pop
        end
        producer.close
        raise "read" unless stream.read_json.to_a == [0, 0, 1, 1, 2, 2]
        puts "fine"
      RUBY
    end
  end

  describe "of native memory" do
    let(:faults) { FaultServer.shared }

    it "runs because of the memory that producers use" do
      faults.on do |reply|
        reply.wait("go")
        reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
      end
      collections = ChildProcess.run do
        client = DurableStreams::Client.new(base_url: faults.url)
        stream = client.stream("/b", content_type: "application/octet-stream")
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", max_buffered_bytes: 1 << 30)
        message = "x" * 1_000_000
        GC.start
        before = GC.count
        100.times do
          producer.append(message)
          String.new(capacity: 1_000) # A collection takes place only when Ruby allocates.
        end
        GC.count - before
      end
      expect(collections).to be_positive
    end

    # The growth of the memory that the GC counts, while the block runs without collections.
    def counted
      GC.disable
      before = GC.stat(:malloc_increase_bytes)
      yield
      GC.stat(:malloc_increase_bytes) - before
    end

    { "flush" => :flush.to_proc, "close" => :close.to_proc, "close_stream" => :close_stream.to_proc,
      "an append that waits" => ->(producer) { producer.append!("x") } }.each do |name, ending|
      it "counts the memory of a producer's messages until #{name} finds them acknowledged" do
        faults.on do |reply|
          reply.wait("go")
          reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "9")
        end
        appended, acknowledged = ChildProcess.run do
          client = DurableStreams::Client.new(base_url: faults.url)
          stream = client.stream("/b", content_type: "application/octet-stream")
          producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
          message = "x" * 1_000_000
          grown = counted { 10.times { producer.append(message) } }
          faults.open("go")
          [grown, counted { ending.call(producer) }]
        end
        expect(appended).to be_between(9_000_000, 12_000_000)
        expect(acknowledged).to be < -9_000_000
      end
    end

    it "counts the memory of readers until they are closed" do
      faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
      faults.on(nil, nil, query: { "live" => "long-poll" }) { |reply| reply.wait("never") }
      opened, closed = ChildProcess.run do
        stream = DurableStreams::Client.new(base_url: faults.url).stream("/s", content_type: :json)
        readers = Array.new(100) { stream.read_json(live: :long_poll) }
        [counted { readers.each(&:next) }, counted { readers.each(&:close) }]
      end
      # A connection's buffers for each reader, and a little memory of Ruby.
      expect(opened).to be_between(3_200_000, 4_500_000)
      expect(closed).to be < -3_000_000
    end

    it "counts the memory of what a reader has read ahead" do
      # Strings short enough to be embedded in Ruby's heap, so that they do not count.
      items = Array.new(40_000, "x" * 20)
      faults.on { |reply| reply.respond(200, JSON.generate(items), "stream-next-offset" => "1") }
      most = ChildProcess.run(timeout: 120) do
        stream = DurableStreams::Client.new(base_url: faults.url).stream("/s", content_type: :json)
        # The network decides how much of the response has arrived when a later block is handed out, and no event
        # reports it. So every attempt waits longer, after it has read enough for the library to read ahead.
        most = 0
        100.times do |attempt|
          reader = stream.read_json
          most = counted do
            6_000.times { reader.next }
            sleep(attempt * 0.01)
            6_000.times { reader.next }
          end
          reader.close
          break if most > 500_000
        end
        most
      end
      expect(most).to be > 500_000
    end

    it "counts the memory of requests to which the application's transport responds" do
      counted_bytes = ChildProcess.run do
        requests = []
        DurableStreams::Context.transport = lambda do |request|
          requests << request
          request.respond(200, { "stream-next-offset" => "1" }, "")
        end
        stream = DurableStreams::Client.new(base_url: "http://h").stream("/b", content_type: "application/octet-stream")
        body = "x" * 1_000_000
        counted { 10.times { stream.append(body) } }
      end
      expect(counted_bytes).to be_between(9_000_000, 12_000_000)
    end

    it "does not run more often for many short-lived readers", without: :gc_pressure do
      faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
      collections = ChildProcess.run do
        stream = DurableStreams::Client.new(base_url: faults.url).stream("/s", content_type: :json)
        stream.read_json.to_a
        GC.start
        before = GC.stat(:major_gc_count)
        2_000.times { stream.read_json.to_a }
        GC.stat(:major_gc_count) - before
      end
      # 2,000 readers of 32 kB each would cause several collections if their memory were not subtracted again.
      expect(collections).to be <= 2
    end
  end
end
