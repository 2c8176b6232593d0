# frozen_string_literal: true

require "durable_streams/testing"
require "timeout"
require_relative "../support/at_once"
require_relative "../support/small_scheduler"

# The testing module as users' suites use it: streams in memory, with the library's real code.
RSpec.describe DurableStreams::Testing do
  let(:mock) { described_class.mock_transport }
  let(:stream) { DurableStreams.create("/events", content_type: :json) }

  before { described_class.install! }
  after { described_class.reset! }

  def client(**options)
    policy = DurableStreams::RetryPolicy.new(initial_delay: 0.001, max_delay: 0.01)
    DurableStreams::Client.new(base_url: "https://streams.example.com/v1", retry_policy: policy, **options)
  end

  def in_thread(&block)
    Thread.new(&block).tap { |thread| thread.report_on_exception = false }
  end

  # The example of the reference client's README.
  it "returns the appended messages" do
    described_class.clear!
    mock.seed_stream("/events", [])
    stream = DurableStreams.create("/events", content_type: :json)
    stream.append({ event: "test" })
    expect(described_class.messages_for("/events")).to include({ "event" => "test" })
  end

  describe "install!" do
    it "applies to streams created afterwards, also by older clients" do
      described_class.reset!
      never = DurableStreams::RetryPolicy.new(max_retries: 0)
      before = DurableStreams::Client.new(base_url: "http://127.0.0.1:1", retry_policy: never)
      real = before.stream("/a")
      described_class.install!
      expect(described_class).to be_installed
      before.stream("/a").create.append({ a: 1 })
      expect(described_class.messages_for("/a")).to eq([{ "a" => 1 }])
      expect { real.head }.to raise_error(DurableStreams::ConnectionError)
      described_class.reset!
      expect(described_class).not_to be_installed
      expect(described_class.transport_if_installed).to be_nil
      expect(described_class.requests).to be_empty
      expect { before.stream("/a").head }.to raise_error(DurableStreams::ConnectionError)
    end

    it "copies the configuration, which reset! restores" do
      described_class.reset!
      DurableStreams.configure { |config| config.each_yields = :items }
      described_class.install!
      expect(DurableStreams.configuration.each_yields).to eq(:items)
      DurableStreams.configure { |config| config.base_url = "http://elsewhere" }
      expect(DurableStreams.stream("/a").url).to eq("http://elsewhere/a")
      described_class.reset!
      expect(DurableStreams.configuration).to have_attributes(each_yields: :items, base_url: nil)
      expect { DurableStreams.stream("/a") }.to raise_error(ArgumentError, /no base_url/)
    ensure
      DurableStreams.reset_configuration!
    end

    it "needs neither a server nor certificates, also for https" do
      expect(client.stream("/a").exists?).to be(false)
      expect(described_class.requests.first).to include(method: :head, url: "https://streams.example.com/v1/a")
    end
  end

  describe "requests" do
    it "are recorded with the URL, headers and body that a server would receive" do
      tokens = %w[one two].each
      handle = client(headers: { "Authorization" => -> { tokens.next } }, params: { "tenant" => "a b" }).stream("/a")
      handle.create(content_type: "application/json", ttl_seconds: 60)
      handle.append({ a: "é" }, seq: "1")
      expect(described_class.requests).to match(
        [a_hash_including(method: :put, url: "https://streams.example.com/v1/a?tenant=a+b", path: "/v1/a", body: nil,
                          headers: { "content-type" => "application/json", "stream-ttl" => "60",
                                     "authorization" => "one" }),
         a_hash_including(method: :post, query: { "tenant" => "a b" }, body: '[{"a":"é"}]',
                          headers: { "content-type" => "application/json", "stream-seq" => "1",
                                     "authorization" => "two" })]
      )
    end

    it "have headers with case-insensitive names" do
      client(headers: { "X-Tenant" => "a" }).stream("/a").exists?
      headers = described_class.requests.first[:headers]
      expect(%w[X-Tenant x-tenant X-Other].map { |name| headers[name] }).to eq(["a", "a", nil])
      expect(headers).to eq("x-tenant" => "a")
    end

    it "can be cleared by the test, as in the reference client" do
      stream
      described_class.requests.clear
      stream << 1
      expect(described_class.requests.map { |request| request[:method] }).to eq([:post])
    end

    it "are cleared with everything else by clear!" do
      stream
      mock.on(:post, "/events", status: 500)
      described_class.clear!
      expect(described_class.requests).to be_empty
      expect(mock.streams).to be_empty
      stream.create.append(1)
      expect(mock.streams).to eq("/events" => [1])
    end
  end

  describe "streams" do
    it "can be seeded" do
      mock.seed_stream("/events", [{ id: 1 }])
      mock.seed_stream("https://host/events", [{ id: 2 }])
      mock.seed_stream("/log", ["a"], content_type: :text)
      expect(DurableStreams.read("/events").to_a).to eq([{ "id" => 1 }, { "id" => 2 }])
      expect(DurableStreams.stream("/log").read.first).to have_attributes(data: "a", up_to_date?: true)
    end

    describe "with install!(strict: true)" do
      before { described_class.install!(strict: true) }

      it "respond with 404 until they are created" do
        calls = [->(stream) { stream.append(1) }, ->(stream) { stream.read_json.to_a }, ->(stream) { stream.read.to_a },
                 ->(stream) { stream.read_json(live: :sse).first }, ->(stream) { stream.close_stream },
                 ->(stream) { stream.append("1", seq: "1") }]
        [nil, :json].product(calls).each do |type, call|
          missing = DurableStreams.stream("/missing", content_type: type)
          expect { call.call(missing) }.to raise_error(DurableStreams::StreamNotFoundError)
        end
        expect { DurableStreams::Producer.open(url: "/missing", producer_id: "p") { |producer| producer << 1 } }
          .to raise_error(DurableStreams::StreamNotFoundError)
        expect(mock.streams).to be_empty
      end

      it "exist once they are created or seeded" do
        stream.append(1)
        mock.seed_stream("/seeded", [2])
        expect([stream, DurableStreams.stream("/seeded")].map(&:read_all)).to eq([[1], [2]])
      end

      it "are strict until the next install!" do
        described_class.clear!
        expect { DurableStreams.append("/a", 1) }.to raise_error(DurableStreams::StreamNotFoundError)
        described_class.install!
        expect(DurableStreams.append("/a", 1).next_offset).to be_a(String)
      end
    end

    it "need not be created, as in the reference client" do
      expect(DurableStreams.stream("/a", content_type: :json).read_all).to eq([])
      expect(DurableStreams.read("/a").to_a).to eq([])
      expect(DurableStreams.stream("/a")).not_to be_exists
      DurableStreams.append("/a", { n: 1 })
      DurableStreams.stream("/a", content_type: :json) << { n: 2 }
      expect(DurableStreams.stream("/a").read_all).to eq([{ "n" => 1 }, { "n" => 2 }])
      expect { DurableStreams.append("/b", "", content_type: :text) }.to raise_error(DurableStreams::BadRequestError)
      expect(DurableStreams.stream("/b")).not_to be_exists
      DurableStreams.append("/b", "text", content_type: :text)
      expect(DurableStreams.stream("/b").read.first.data).to eq("text")
    end

    it "can be changed through `streams`, as in the reference client" do
      mock.streams["/a"] = [{ n: 1 }]
      handle = DurableStreams.stream("/a")
      expect(handle.read_all).to eq([{ "n" => 1 }])
      handle << { n: 2 }
      mock.streams["/a"] << { n: 3 }
      expect(handle.read_all.map { |item| item["n"] }).to eq([1, 2, 3])
      handle.close_stream
      mock.streams["/a"] = [4]
      expect(handle.head).to be_closed
      expect(handle.read_all).to eq([4])
      mock.streams.delete("/a")
      expect(handle).not_to be_exists
      expect(handle.read_all).to eq([])
      expect(handle.append(5).next_offset).to eq(handle.head.next_offset)
      mock.streams.clear
      expect(described_class.messages_for("/a")).to eq([])
    end

    it "are new after clear!" do
      stream.close_stream
      described_class.clear!
      mock.streams["/events"] = [1]
      expect(stream.head).not_to be_closed
    end

    ["/with space", "/caf\u00e9", "/a/../b", "/with%20space"].each do |path|
      it "have the same path in every notation (#{path})" do
        stream = DurableStreams.create(path, content_type: :json)
        stream << 1
        mock.seed_stream(path, [2])
        expect(described_class.messages_for(path)).to eq([1, 2])
        expect(stream.read_all).to eq([1, 2])
        expect(stream.fork("/fork").read_all).to eq([1, 2])
        expect(described_class).to have_made_request(:post).to(path)
        mock.on(:post, path, status: 400)
        expect { stream << 3 }.to raise_error(DurableStreams::BadRequestError)
      end
    end

    it "raise the same errors as with a server" do
      missing = DurableStreams.stream("/missing", content_type: :json)
      [-> { missing.head }, -> { missing.delete }, -> { missing.fork("/fork") }].each do |call|
        expect(&call).to raise_error(DurableStreams::StreamNotFoundError)
      end
      expect { stream.create(content_type: :text) }.to raise_error(DurableStreams::StreamExistsError)
      expect(stream.create(content_type: :json)).to be(stream)
      expect { DurableStreams.stream("/events", content_type: :text).append("x") }
        .to raise_error(DurableStreams::ContentTypeMismatchError)
      expect { stream.read_json(offset: "12").to_a }.to raise_error(DurableStreams::BadRequestError)
      stream.append(1, seq: "b")
      expect { stream.append(2, seq: "a") }.to raise_error(DurableStreams::SeqConflictError)
    end

    it "can be closed and deleted" do
      expect(stream.close_stream(data: 7).final_offset).to eq(stream.head.next_offset)
      expect(stream.close_stream.final_offset).to eq(stream.head.next_offset)
      expect(stream.head).to be_closed
      expect { stream.append(1) }.to raise_error(DurableStreams::StreamClosedError) { |error|
        expect(error.final_offset).to eq(stream.head.next_offset)
      }
      expect { stream.close_stream(data: 1) }.to raise_error(DurableStreams::StreamClosedError)
      expect(stream.read_json(live: :long_poll).to_a).to eq([7])
      stream.delete
      expect(stream.exists?).to be(false)
      [-> { stream.read_all }, -> { stream.append(1) }, -> { stream.delete }].each do |call|
        expect(&call).to raise_error(DurableStreams::StreamNotFoundError)
      end
      expect(stream.create.append(1).next_offset).to eq(stream.head.next_offset)
    end

    it "can be created with content and expiry, created closed, and forked" do
      source = DurableStreams.create("/source", content_type: :json, body: 1, ttl_seconds: 9)
      offset = source.head.next_offset
      source << 2 << 3
      expect(source.head).to have_attributes(ttl_seconds: 9, content_type: "application/json")
      expect(source.fork("/fork", offset: offset, sub_offset: 1).read_all).to eq([1, 2])
      expect(source.fork("/all").read_all).to eq([1, 2, 3])
      text = DurableStreams.create("/text", content_type: :text, body: "abc", closed: true)
      expect(text.fork("/ab", offset: "-1", sub_offset: 2).read.body).to eq("ab")
      expect(text.head).to be_closed
      expect { text.fork("/c", offset: "7") }.to raise_error(DurableStreams::BadRequestError)
      expect { DurableStreams.stream("/no").fork("/d") }.to raise_error(DurableStreams::StreamNotFoundError)
    end

    it "store bytes unchanged and text as UTF-8" do
      bytes = DurableStreams.create("/bytes", content_type: :bytes)
      bytes << "\xff\x00".b << "é"
      expect(described_class.messages_for("/bytes")).to eq(["\xff\x00".b, "é"])
      expect(bytes.read.body).to eq("\xff\x00é".b)
    end

    it "can be read as bytes from their end" do
      stream << 1
      reader = stream.read_bytes
      expect([reader.body, reader.body]).to eq(["[1]", "[]"])
      stream << 2
      expect(reader.body).to eq("[2]")
    end
  end

  describe "live reads" do
    %i[long_poll sse auto].each do |live|
      it "wait for new messages and end when the stream is closed (#{live})" do
        stream << 1
        seen = Thread::Queue.new
        reading = in_thread { stream.read_json(live: live).each { |item| seen << item } && :ended }
        expect(seen.pop).to eq(1)
        stream << [2, "\n"]
        expect(seen.pop).to eq([2, "\n"])
        stream.close_stream(data: 3)
        expect(seen.pop).to eq(3)
        expect(reading.value).to eq(:ended)
      end

      it "wait for a stream to be created (#{live})" do
        seen = Thread::Queue.new
        handle = DurableStreams.stream("/events")
        reading = in_thread { handle.read_json(live: live).each { |item| seen << item } && :ended }
        Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
        DurableStreams.create("/events", content_type: :json, body: 1)
        expect(seen.pop).to eq(1)
        DurableStreams.stream("/events").close_stream
        expect(reading.value).to eq(:ended)
      end

      it "can be closed while they wait (#{live})" do
        reader = stream.read(live: live)
        seen = Thread::Queue.new
        reading = in_thread { reader.each { |batch| seen << batch } && :ended }
        expect(seen.pop).to have_attributes(items: [], up_to_date?: true)
        reader.close
        expect(reading.value).to be_truthy
        expect(stream.append(1).next_offset).to eq(stream.head.next_offset)
      end

      it "raise StreamNotFoundError when the stream is deleted (#{live})" do
        seen = Thread::Queue.new
        reading = in_thread { stream.read(live: live).each { |batch| seen << batch } }
        seen.pop
        stream.delete
        expect { reading.value }.to raise_error(DurableStreams::StreamNotFoundError)
      end
    end

    it "send a new request when a missing stream is created as a stream of bytes" do
      seen = Thread::Queue.new
      handle = DurableStreams.stream("/bytes", content_type: :bytes)
      reading = in_thread { handle.read(live: :sse).each { |chunk| seen << chunk.data } }
      Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
      handle.create(body: "\xFF".b, closed: true)
      reading.join
      expect(Array.new(seen.size) { seen.pop }.last).to eq("\xFF".b)
    end

    it "do not poll while nothing happens" do
      seen = Thread::Queue.new
      reading = in_thread { stream.read(live: :long_poll).each { |batch| seen << batch } }
      seen.pop
      Thread.pass until described_class.requests.last[:query]["live"]
      made = described_class.requests.size
      expect(reading.join(0.2)).to be_nil
      expect(described_class.requests.size).to eq(made)
      reading.kill.join
    end

    it "yield bytes and text by SSE" do
      bytes = DurableStreams.create("/bytes", content_type: :bytes, body: "\x00\xff\r\n")
      expect(bytes.read(live: :sse).first.data).to eq("\x00\xff\r\n".b)
      text = DurableStreams.create("/text", content_type: :text, body: "a\nb")
      expect(text.read(live: :sse).first.data).to eq("a\nb")
    end
  end

  describe "producers" do
    it "deliver messages once and in order" do
      requests = 0
      mock.on(:post, "/events") { :connection if (requests += 1) == 2 }
      delivered = []
      DurableStreams::Producer.open(stream: stream, producer_id: "p", max_batch_items: 3, linger_ms: 0,
                                    on_delivery: ->(result, count) { delivered << [result.seq, count] }) do |producer|
        10.times { |i| producer.append(i) }
        producer.flush
        expect(producer.append!({ last: true }).next_offset).to eq(stream.head.next_offset)
      end
      expect(described_class.messages_for("/events")).to eq([*0..9, { "last" => true }])
    end

    it "are fenced, and claim the next epoch with auto_claim" do
      open = ->(**options) { DurableStreams::Producer.new(stream: stream, producer_id: "p", **options) }
      open.call(epoch: 3).append!(1)
      expect { open.call(epoch: 1).append!(2) }.to raise_error(DurableStreams::StaleEpochError) { |error|
        expect(error.current_epoch).to eq(3)
      }
      claiming = open.call(epoch: 1, auto_claim: true)
      expect(claiming.append!(2)).to have_attributes(epoch: 4, duplicate?: false)
      expect { open.call(epoch: 4, next_seq: 5).append!(3) }.to raise_error(DurableStreams::SequenceGapError)
      expect(claiming.close_stream(data: 4).final_offset).to eq(stream.head.next_offset)
      expect(described_class.messages_for("/events")).to eq([1, 2, 4])
    end

    it "detect that an earlier run used the epoch, also if the first append creates the stream" do
      open = ->(**options) { DurableStreams::Producer.new(url: "/new", client: client, producer_id: "p", **options) }
      2.times { |run| open.call(auto_claim: true).append!({ run: run }) }
      claimed = open.call(epoch: 1)
      expect { claimed.append!({ run: 2 }) }.to raise_error(DurableStreams::EpochReusedError)
      expect(described_class.messages_for("/v1/new")).to eq([{ "run" => 0 }, { "run" => 1 }])
    end

    it "fail with the exception that the block of `on` raises" do
      mock.on(:post, "/events") { raise IOError, "mine" }
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
      producer.append({ a: 1 })
      expect { producer.flush }.to raise_error(DurableStreams::ProducerError) { |error|
        expect(error.cause).to be_a(IOError).and have_attributes(message: "mine")
        expect(error.undelivered).to eq([{ a: 1 }])
      }
    end
  end

  describe "faults" do
    let(:stream) { client.create("/events", content_type: :json) }

    it "can be statuses, a number of times, after which a retry succeeds" do
      stream
      mock.on(:post, "/v1/events", status: 429, times: 2)
      stream.append(1)
      expect(described_class.requests.count { |request| request[:method] == :post }).to eq(3)
      expect(described_class.messages_for("/v1/events")).to eq([1])
    end

    it "can be statuses with body and headers" do
      stream
      mock.on(:post, %r{/events\z}, status: 429, body: { error: "slow down" }, headers: { "Retry-After" => 60 })
      expect { stream.append(1) }.to raise_error(DurableStreams::RateLimitedError) { |error|
        expect(error).to have_attributes(status: 429, body: '{"error":"slow down"}', retry_after: 60)
      }
    end

    it "can be connection errors and timeouts" do
      stream
      mock.on(:post, "/v1/events", error: :connection)
      expect { stream.append(1) }.to raise_error(DurableStreams::ConnectionError) { |error|
        expect(error).to be_outcome_unknown
      }
      mock.on(:post, "/v1/events", error: :timeout)
      expect { stream.append(1) }.to raise_error(DurableStreams::TimeoutError, /30 s/)
      expect { mock.on(:post, "/v1/events", error: :earthquake) }.to raise_error(ArgumentError, /:refused/)
    end

    it "that prevent the request from being sent are retried" do
      stream
      mock.on(:post, "/v1/events", error: :refused, times: 3)
      stream.append(1)
      mock.on(:get, "/v1/events", error: :connection, times: 2)
      expect(stream.read_all).to eq([1])
    end

    it "can be returned by a block, which returns nil for no fault" do
      stream
      seen = []
      mock.on(:post, "/v1/events") do |request|
        seen << request[:body]
        { status: 400, body: "no twos" } if request[:body].include?("2")
      end
      stream.append(1)
      expect { stream.append(2) }.to raise_error(DurableStreams::BadRequestError, /no twos/)
      mock.on(:head, "/v1/events") { 401 }
      expect { stream.head }.to raise_error(DurableStreams::UnauthorizedError)
      mock.on(:head, "/v1/events") { Object.new }
      expect { stream.head }.to raise_error(ArgumentError, /the block must return/)
      expect(seen).to eq(%w{[1] [2]})
    end

    it "can be exceptions, which reach the caller unchanged" do
      mistake = Class.new(StandardError)
      mock.on(:get, "/v1/events") { raise mistake, "mine" }
      expect { stream.read_json.to_a }.to raise_error(mistake, "mine")
      mock.on(:head, "/v1/events") { throw :out, :thrown }
      expect(catch(:out) { stream.head }).to eq(:thrown)
      mock.on(:delete, "/v1/events") { stream.head_of_nothing }
      expect { stream.delete }.to raise_error(NoMethodError)
    end

    it "can use the client in the block" do
      mock.on(:post, "/v1/events") { stream.delete && nil }
      expect { stream.append(1) }.to raise_error(DurableStreams::StreamNotFoundError)
    end

    it "can be successes, which get the headers that they need" do
      mock.on(:get, "/v1/canned", status: 200, body: [{ a: 1 }])
      mock.on(:post, "/v1/canned", status: 200)
      canned = client.stream("/canned", content_type: :json)
      expect(canned.read_json.to_a).to eq([{ "a" => 1 }])
      expect(canned.append(2).next_offset).to be_a(String)
      mock.on(:post, "/v1/canned", status: 204, headers: { "Stream-Next-Offset" => nil })
      expect { canned.append(2) }.to raise_error(DurableStreams::FetchError, /Stream-Next-Offset/)
    end

    it "raise ArgumentError for invalid arguments" do
      expect { mock.on(:post, "/a") }.to raise_error(ArgumentError, /status:, error: and a block/)
      expect { mock.on(:post, "/a", status: 1) }.to raise_error(ArgumentError, /from 100 to 999/)
      expect { mock.on(:patch, "/a", status: 200) }.to raise_error(ArgumentError, /method must be/)
      expect { mock.on(:post, "/a", status: 200, times: 0) }.to raise_error(ArgumentError, /times/)
    end
  end

  it "lets an interrupt end a call that waits" do
    never = Thread::Queue.new
    mock.on(:get, "/events") { never.pop }
    stream
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    expect { Timeout.timeout(0.1) { stream.read_json.to_a } }.to raise_error(Timeout::Error)
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - started).to be < AtOnce::SECONDS
  end

  if RUBY_VERSION >= "3.1"
    it "lets a block of `on` append to its own stream, in a fiber too" do
      handle = stream
      to_append = [2]
      mock.on(:post, "/events") do
        to_append.pop&.then { |message| handle.append(message) }
        nil
      end
      running = in_thread { SmallScheduler.run { Fiber.schedule { handle.append(1) } } }
      expect(running.join(AtOnce::SECONDS)).to be(running)
      expect(described_class.messages_for("/events")).to eq([2, 1])
    end
  end

  it "serves several threads at the same time" do
    threads = Array.new(8) { |i| in_thread { 20.times { |j| stream.append([i, j]) } } }
    threads.each(&:join)
    expect(described_class.messages_for("/events")).to match_array((0...8).to_a.product((0...20).to_a))
  end

  it "has a separate copy in a forked child" do
    stream << 1
    reading = in_thread { stream.read_json(live: :long_poll).first(2) }
    Thread.pass until described_class.requests.any? { |request| request[:query]["live"] }
    in_child = ChildProcess.run do
      stream << 2
      [described_class.messages_for("/events"), stream.read_json(live: :long_poll).first(2)]
    end
    expect(in_child).to eq([[1, 2], [1, 2]])
    expect(reading.join(0.05)).to be_nil
    stream << 3
    expect(reading.value).to eq([1, 3])
  end

  it "works across garbage collection and compaction" do
    seen = Thread::Queue.new
    reading = in_thread { stream.read_json(live: :long_poll).each { |item| seen << item } }
    mock.on(:post, "/events") { |request| GC.start && nil if request[:body] }
    5.times do |i|
      GC.compact if GC.respond_to?(:compact)
      stream << i
      expect(seen.pop).to eq(i)
    end
    stream.close_stream
    reading.join
  end

  if RUBY_VERSION >= "3.1"
    it "lets other fibers of the thread run while one waits" do
      items = nil
      SmallScheduler.run do |scheduler|
        Fiber.schedule { items = stream.read_json(live: :long_poll).first(2) }
        Fiber.schedule { 2.times { |i| stream << i } }
        scheduler.run
      end
      expect(items).to eq([0, 1])
    end
  end

  it "accepts direct requests, as the reference client's transport does" do
    mock.request(:put, "http://h/a", headers: { "Content-Type" => "application/json" })
    response = mock.request(:post, "http://h/a", headers: { "content-type" => "application/json" }, body: "[1,2]")
    expect(response).to be_success
    expect(response["Stream-Next-Offset"]).to eq(mock.request(:head, "http://h/a")["stream-next-offset"])
    expect(mock.stream_request(:get, "http://h/a", &:body)).to eq("[1,2]")
    expect(mock.request(:get, "http://h/b").body).to eq("[]")
    expect(mock.request(:head, "http://h/b").status).to eq(404)
    expect(mock.shutdown).to be_nil
  end

  describe "matchers" do
    before { stream.append({ type: "created", order: { id: 7, items: [1] } }) }

    it "have_appended_to" do
      expect(described_class).to have_appended_to("/events")
      expect(described_class).to have_appended_to("/events").with(type: "created", order: { id: 7 })
      expect(described_class).to have_appended_to("/events").with("order" => { "items" => [Integer] })
      expect(described_class).to have_appended_to("/events").with(hash_including("type" => /\Acre/))
      expect(described_class).not_to have_appended_to("/events").with(type: "deleted")
      expect(described_class).not_to have_appended_to("/others")
      expect { expect(described_class).to have_appended_to("/events").with(type: "x") }
        .to raise_error(RSpec::Expectations::ExpectationNotMetError, %r{like \{.*x.*appended to /events.*created})
    end

    it "have_made_request" do
      expect(described_class).to have_made_request(:post)
      expect(described_class).to have_made_request(:post).to("/events").with_body('"type":"created"')
      expect(described_class).to have_made_request(:post).to("/events").with_body(type: "created")
      expect(described_class).to have_made_request(:post).with_body([{ order: { id: 7 } }])
      expect(described_class).not_to have_made_request(:post).to("/others")
      expect(described_class).not_to have_made_request(:delete)
      expect { expect(described_class).to have_made_request(:delete).to("/events") }
        .to raise_error(RSpec::Expectations::ExpectationNotMetError, %r{delete request to /events.*got: put /events})
    end
  end
end
