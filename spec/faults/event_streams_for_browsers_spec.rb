# frozen_string_literal: true

# Browsers that leave, servers that fail, and middleware that would like to wait for the whole response.
RSpec.describe DurableStreams::EventStream, :faults do
  # Seconds between comments.
  heartbeat = 0.2

  let(:stream) { client.stream("/s", content_type: :json) }
  let(:client) { fault_client }
  let(:app) { described_class.app(heartbeat: heartbeat) { stream } }
  let(:web) { PumaServer.new(app, threads: 1) }
  let(:log) { StringIO.new }
  let(:browser) { browse }
  let(:browsers) { [] }

  around do |example|
    logger = DurableStreams.logger
    DurableStreams.logger = Logger.new(log)
    example.run
  ensure
    DurableStreams.logger = logger
  end

  after do
    browsers.each(&:leave)
    clients.each(&:close)
    web.stop
  end

  def browse(url = web.url("/"), **options)
    EventSource.new(url, **options).tap { |browser| browsers << browser }
  end

  # The server has one item, and then is silent.
  def silent_server
    faults.on { |reply| reply.read("[1]", next_offset: "1") }
    faults.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.control("1", up_to_date: true).hang }
  end

  def wait_until
    deadline = now + AtOnce::SECONDS
    Thread.pass until yield || now > deadline
    expect(yield).to be(true)
  end

  describe "when the browser leaves" do
    %i[fin rst].each do |how|
      it "notices by the comments, closes its connection and frees the thread (#{how})" do
        silent_server
        expect(browser.next.data).to eq("1")
        expect(web.free_threads).to eq(0)
        browser.leave(how)
        faults.wait_until_closed(by: :client)
        wait_until { web.free_threads == 1 }
      end
    end

    it "notices before the server has responded" do
      faults.on(&:hang)
      expect(browser.next_block).to eq(":\n\n")
      browser.leave
      faults.wait_until_closed(by: :client)
      wait_until { web.free_threads == 1 }
    end
  end

  it "sends comments while it waits, and events in between" do
    silent_server
    faults.on(nil, nil, query: { "live" => "sse" }) do |reply|
      reply.sse.control("1", up_to_date: true).wait("go").data("[2]").control("2", up_to_date: true).hang
    end
    browser.next
    expect(Array.new(2) { browser.next_block }).to eq([":\n\n"] * 2)
    faults.open("go")
    expect(browser.next.to_h).to include(data: "2", id: "2")
    expect(browser.next_block).to eq(":\n\n")
  end

  it "sends comments while a batch arrives, and loses nothing of it" do
    large = "[#{Array.new(20_000) { |number| number.to_s.rjust(9, "1") }.join(",")}"
    faults.on do |reply|
      reply.head(200, "content-type" => "application/json", "stream-next-offset" => "7", "stream-closed" => "true")
      reply.chunk(large).wait("go").chunk(",1,2]").finish
    end
    expect(Array.new(3) { browser.next_block }).to eq([":\n\n"] * 3)
    faults.open("go")
    events = browser.to_a
    expect(events.map(&:data)).to eq([*JSON.parse("#{large}]"), 1, 2].map(&:to_s) << "7")
    expect(events[-2..].map(&:id)).to eq(["7", "7/end"])
    expect(events.map(&:id).uniq.size).to eq(20_003)
  end

  it "ends when the stream is deleted, and the next request learns why" do
    faults.next { |reply| reply.read("[1]", next_offset: "1") }
    faults.on { |reply| reply.respond(404) }
    expect(browser.to_a.map(&:data)).to eq(["1"])
    again = browse(last_event_id: "1")
    expect([again.status, again.rest]).to eq([404, "404\n"])
  end

  it "responds with 503 if the server fails, or cannot be reached" do
    [500, 429].each do |status|
      faults.on { |reply| reply.respond(status) }
      expect(browse.status).to eq(503)
      browsers.each(&:leave)
    end
    faults.refuse_connections
    expect(browse.status).to eq(503)
  end

  it "logs errors that the response cannot report" do
    faults.next { |reply| reply.read("[1]", next_offset: "1") }
    faults.on { |reply| reply.read("oops", next_offset: "2") }
    browser.to_a
    web.stop
    expect(log.string).to match(/WARN .*event stream for a browser: read .*is not a JSON array/)
  end

  it "ends without the event end when it is closed" do
    silent_server
    events = described_class.new(stream)
    parts = Thread::Queue.new
    reading = in_thread { events.each { |part| parts << part } }
    expect(parts.pop).to start_with("id: 1\ndata: 1")
    expect(timed { events.close || reading.join }).to be < AtOnce::SECONDS
    expect(reading.value).to be(events)
    expect(Array.new(parts.size) { parts.pop }).to all(eq(":\n\n"))
  end

  it "raises ArgumentError if the stream has neither JSON nor text" do
    events = described_class.new(client.stream("/s", content_type: :bytes))
    expect { events.open }.to raise_error(ArgumentError, %r{JSON or text; .*/s is application/octet-stream})
  end

  it "frees its connection if a web server drops it" do
    silent_server
    Thread.new { described_class.new(stream).open && nil }.join
    faults.wait_for_request(2)
    wait_until { GC.start || faults.events(type: :closed, by: :client).any? }
  end

  it "sends events at once through middleware" do
    require "rack"
    silent_server
    inner = app
    wrapped = Rack::Builder.new do
      use Rack::Deflater
      use Rack::ConditionalGet
      use Rack::ETag
      use Rack::Head
      use Rack::Lint
      run inner
    end
    server = PumaServer.new(wrapped.to_app, threads: 1)
    plain = browse(server.url("/"))
    expect(plain.next.data).to eq("1")
    plain.leave
    zipped = browse(server.url("/"), headers: { "Accept-Encoding" => "gzip" })
    expect(zipped.headers).to include("content-encoding" => "gzip")
    inflated = +""
    inflate = Zlib::Inflate.new(Zlib::MAX_WBITS + 16)
    inflated << inflate.inflate(zipped.next_chunk) until inflated.include?("data: 1\n\n")
  ensure
    clients.each(&:close)
    server.stop
  end

  describe "an outage of a real server" do
    let(:server) { start_server(durability: :wal) }
    let(:policy) { DurableStreams::RetryPolicy.new(max_retries: 1, initial_delay: 0.001) }
    let(:client) do
      DurableStreams::Client.new(base_url: server.url, retry_policy: policy).tap { |made| clients << made }
    end

    it "is waited for whatever the retry policy, with comments, and nothing is lost" do
      stream.create
      stream.append(1)
      expect(browser.next.data).to eq("1")
      server.kill
      expect(Array.new(3) { browser.next_block }).to eq([":\n\n"] * 3)
      server.restart
      stream.append(2)
      expect(browser.next.data).to eq("2")
    end
  end
end
