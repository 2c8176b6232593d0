# frozen_string_literal: true

require "durable_streams/testing"
require "timeout"
require_relative "../support/at_once"
require_relative "../support/small_scheduler"

# The testing module as users' suites use it: streams in memory, with the library's real code.
RSpec.describe DurableStreams::Testing do
  include_context "with streams in memory"

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
      described_class.install!(strict: true)
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
      tokens = %w[one two]
      handle = client(headers: { "Authorization" => -> { tokens.shift } }, params: { "tenant" => "a b" }).stream("/a")
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
    expect(mock.request(:post, "http://h/b", body: "[3]")).to be_success
    expect(mock.messages_for("/b")).to eq([3])
    expect(mock.shutdown).to be_nil
    mock.on(:get, "/a", status: 503, body: "busy")
    expect(mock.request(:get, "http://h/a")).to have_attributes(status: 503, body: "busy", success?: false)
    { connection: DurableStreams::ConnectionError, timeout: DurableStreams::TimeoutError }.each do |fault, error|
      mock.on(:get, "/a", error: fault)
      expect { mock.request(:get, "http://h/a") }.to raise_error(error)
    end
  end

  it "encodes data, and seeded messages, by the json_encoder" do
    DurableStreams.configure { |config| config.json_encoder = ->(data) { JSON.generate(data.map { |i| i * 2 }) } }
    DurableStreams.append("/a", [1])
    mock.seed_stream("/a", [1, 2])
    expect(described_class.messages_for("/a")).to eq([[2], 2, 4])
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
