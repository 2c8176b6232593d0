# frozen_string_literal: true

# What a consumer requests, and what ends its waits, with a server that fails or does not respond.
RSpec.describe DurableStreams::Consumer, :faults do
  let(:checkpoint) { DurableStreams::Checkpoint::Memory.new }

  def consumer(stream, **options)
    described_class.new(stream, checkpoint: checkpoint, **options)
  end

  # A handle that has to look up the content type.
  def unknown_stream(**options)
    fault_client(**options).stream("/s")
  end

  # Runs the consumer in a thread, whose value is the result, or the error.
  def running(made, &block)
    in_thread { made.run(&block || proc { nil }) }
  end

  # Stops the consumer, and waits for the end of its run.
  def expect_to_stop_at_once(made, thread)
    made.stop
    expect(thread.join(AtOnce::SECONDS)&.value).to eq(:stopped)
  end

  it "saves where the stream ended when it began at \"now\", so that another run misses nothing" do
    saves = Queue.new
    checkpoint = Struct.new(:load, :saves) { def save(offset) = saves << offset }.new("now", saves)
    faults.next("GET") { |reply| reply.read("[]", next_offset: "9") }
    faults.next("GET", &:hang)
    running(described_class.new(fault_stream, checkpoint: checkpoint, live: :long_poll))
    faults.wait_for_request(2)
    expect(saves.pop).to eq("9")
  end

  { json: "sse", text: "sse", bytes: "long-poll" }.each do |type, mode|
    it "follows a stream of #{type} as live: :auto does by default (#{mode})" do
      media = DurableStreams::Stream.normalize_content_type(type)
      faults.on("GET") { |reply| reply.read("[]", next_offset: "1", type: media) }
      faults.on("GET", query: { "live" => mode }, &:hang)
      made = consumer(fault_stream(type: type))
      run = running(made)
      expect(faults.wait_for_request(2).params).to include("live" => mode)
      expect_to_stop_at_once(made, run)
    end
  end

  describe "being stopped" do
    it "ends the lookup of the content type" do
      faults.next("HEAD") { |reply| reply.wait("never") }
      made = consumer(unknown_stream(timeout: 60))
      thread = running(made)
      faults.wait_for_request
      expect_to_stop_at_once(made, thread)
      faults.wait_until_closed(by: :client)
      expect(faults.requests.map(&:verb)).to eq(["HEAD"])
    end

    it "ends the first read, a live read, and a response in its middle" do
      waits = [
        -> { faults.next("GET") { |reply| reply.wait("never") } },
        lambda do
          faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
          faults.next("GET") { |reply| reply.wait("never") }
        end,
        lambda do
          faults.next("GET") do |reply|
            reply.head(200, "content-type" => "application/json", "stream-next-offset" => "2")
            reply.chunk("[1,")
            reply.wait("never")
          end
        end
      ]
      waits.each do |wait|
        faults.reset
        wait.call
        made = consumer(fault_stream(timeout: 60), live: :long_poll)
        thread = running(made)
        faults.wait_until_waiting("never")
        expect_to_stop_at_once(made, thread)
      end
    end

    it "ends the pause before a failed request is sent again" do
      faults.on { |reply| reply.respond(503) }
      policy = { max_retries: 5, initial_delay: 1_000, max_delay: 1_000 }
      [fault_stream(retries: policy), unknown_stream(retries: policy)].each_with_index do |stream, number|
        made = consumer(stream)
        thread = running(made)
        faults.wait_until_responded(number + 1)
        expect_to_stop_at_once(made, thread)
      end
    end
  end

  # As some servers end a response inside a message, so that its end has no offset to save.
  it "saves after each part of a huge batch" do
    type = "application/x-ndjson"
    huge = "a" * (32 * 1024 * 1024)
    faults.next("GET") { |reply| reply.read("\"#{huge}\"\n[", next_offset: "1", up_to_date: false, type: type) }
    faults.on("GET") { |reply| reply.read("2]\n", next_offset: "2", closed: true, type: type) }
    steps = []
    checkpoint.define_singleton_method(:save) { |offset| steps << offset && super(offset) }
    expect(consumer(fault_stream, live: :off).run { |batch| steps.concat(batch.items) }).to eq(:closed)
    expect(steps.map { |step| step == huge ? :huge : step }).to eq([:huge, "-1", [2], "2"])
  end

  it "looks up the content type with value callables, on its own thread" do
    threads = []
    client = fault_client(headers: { "X-Thread" => -> { threads << Thread.current && "yes" } })
    faults.next("HEAD") { |reply| reply.respond(200, "", "content-type" => "text/plain", "stream-next-offset" => "1") }
    faults.next("GET") do |reply|
      reply.respond(200, "a", "content-type" => "text/plain", "stream-next-offset" => "1", "stream-closed" => "true")
    end
    chunks = []
    expect(consumer(client.stream("/s")).run { |chunk| chunks << chunk.data }).to eq(:closed)
    expect(chunks).to eq(["a"])
    expect(threads).to eq([Thread.current] * 2)
    expect(faults.requests.map { |request| request.header("X-Thread") }).to eq(%w[yes yes])
  end

  it "raises the error of the lookup, and what a value callable raises" do
    faults.on("HEAD") { |reply| reply.respond(404) }
    expect { consumer(unknown_stream).run { nil } }
      .to raise_error(DurableStreams::StreamNotFoundError, /\Aread #{faults.url}/)
    failing = fault_client(headers: { "X" => -> { raise KeyError, "no token" } })
    expect { consumer(failing.stream("/s")).run { nil } }.to raise_error(KeyError, "no token")
  end

  describe "with a retry policy that allows two retries" do
    include_context "with log lines"

    def fail_requests(count)
      count.times { faults.next("GET") { |reply| reply.respond(503) } }
    end

    def numbers(from, till, **options)
      faults.next("GET") { |reply| reply.read("[#{till}]", next_offset: till.to_s, **options) }
      from..till
    end

    it "gives up before its first success" do
      fail_requests(3)
      expect { consumer(fault_stream).run { nil } }
        .to raise_error(DurableStreams::FetchError) { |error| expect(error.attempts).to eq(3) }
    end

    it "goes on after a success" do
      numbers(0, 1)
      fail_requests(6)
      numbers(1, 2, closed: true)
      items = []
      expect(consumer(fault_stream, live: :long_poll).run { |batch| items.concat(batch.items) }).to eq(:closed)
      expect(items).to eq([1, 2])
    end

    it "gives up with live: :off, where an outage is an error" do
      numbers(0, 1, up_to_date: false)
      fail_requests(3)
      expect { consumer(fault_stream, live: :off).run { nil } }.to raise_error(DurableStreams::FetchError)
      expect(checkpoint.load).to eq("1")
    end

    it "raises an error that a retry cannot help" do
      numbers(0, 1)
      faults.next("GET") { |reply| reply.respond(410) }
      expect { consumer(fault_stream, live: :long_poll).run { nil } }.to raise_error(DurableStreams::StreamGoneError)
      expect(checkpoint.load).to eq("1")
    end
  end
end
