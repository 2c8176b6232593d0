# frozen_string_literal: true

require_relative "documented_program"

# Runs each block of the client's documentation unchanged against a real server.
on_each_server "The documentation" do
  # The documentation's paths are fixed, so each example has its own server.
  let(:host) { start_server(long_poll_timeout_ms: 1_000).url }
  let(:client) { DurableStreams::Client.new(base_url: host) }
  let(:events) { client.stream("/events") }

  after { client.close }

  def run(block, **options, &on_line)
    DocumentedProgram.new(block, host: host, **options).run(&on_line)
  end

  # Yields the URL of a server that responds to every request with an empty 200.
  # @return [Array<Hash>] the headers of `count` requests
  def received_headers(count)
    server = TCPServer.new("127.0.0.1", 0)
    received = Thread.new do
      Array.new(count) do
        socket = server.accept
        lines = socket.each_line("\r\n", chomp: true).take_while { |line| !line.empty? }
        socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 0\r\nConnection: close\r\n" \
                     "Content-Length: 0\r\n\r\n")
        socket.close
        lines.drop(1).to_h { |line| line.split(": ", 2) }.transform_keys(&:downcase)
      end
    end
    yield "http://127.0.0.1:#{server.addr[1]}"
    received.value
  ensure
    server.close
  end

  it "runs the quick start" do
    saved = []
    output = run("quick_start", before: "def save_offset(offset) = puts('Saved: ' + offset)") do |line|
      saved << line if line.start_with?("Saved: ")
      client.stream("/my-stream").close_stream if saved.size == 1
    end
    item = { "message" => "hello" }
    expect(output).to start_with("Item: #{item}\n")
    expect(saved.last).to eq("Saved: #{client.stream("/my-stream").head.offset}")
  end

  it "creates a client with static and dynamic headers" do
    requests = received_headers(2) do |url|
      DocumentedProgram.new("client_new", host: url, after: "2.times { client.stream('/a').head }").run
    end
    expect(requests.map { |headers| headers["authorization"] }).to eq(["Bearer token123"] * 2)
    ids = requests.map { |headers| headers["x-request-id"] }
    expect(ids.uniq.size).to eq(2)
    expect(ids).to all(match(/\A\h{8}-\h{4}-\h{4}-\h{4}-\h{12}\z/))
  end

  it "opens a client in block form" do
    expect(run("client_open")).to eq("")
  end

  it "creates a stream" do
    run("stream_create")
    expect(events.head).to have_attributes(content_type: "application/json", ttl_seconds: 86_400)
  end

  it "raises StreamExistsError if the stream exists with another configuration" do
    events.create(content_type: :text)
    expect { run("stream_create") }.to raise_error(/StreamExistsError/)
  end

  # The block appends to a JSON stream and to a byte stream by the same variable. A byte stream rejects a Hash, and a
  # JSON stream rejects raw bytes. So each line runs on a stream of its type.
  it "appends" do
    streams = <<~RUBY
      json = DurableStreams.create("#{host}/json", content_type: :json)
      bytes = DurableStreams.create("#{host}/bytes", content_type: :bytes)
      stream = Object.new
      stream.define_singleton_method(:append) do |data, **options|
        (data == 'raw bytes' ? bytes : json).append(data, **options)
      end
    RUBY
    output = run("append", before: streams)
    expect(output).to match(/\AOffset: \d+_\d+\n\z/)
    hello = { "message" => "hello" }
    expect(client.stream("/json").read_all).to eq([hello, hello, { "message" => "world" }])
    expect(client.stream("/bytes").read.body).to eq("raw bytes")
  end

  describe "reading" do
    let(:before) do
      <<~'RUBY'
        stream = DurableStreams.stream(ENV["STREAM"])
        last_offset = "-1"
        def save_checkpoint(offset) = puts("Saved: #{offset}")
      RUBY
    end

    it "yields the items of a JSON stream" do
      events.create(content_type: :json, body: { id: 1 })
      output = run("read", before: before, env: { "STREAM" => events.url }) do |line|
        events.close_stream if line.start_with?("Saved")
      end
      expect(output).to start_with("Item: #{{ "id" => 1 }.inspect}\nSaved: ")
    end

    it "yields the chunks of a byte stream" do
      events.create(content_type: :bytes, body: "12345")
      output = run("read", before: before, env: { "STREAM" => events.url }) do |line|
        events.close_stream if line.start_with?("Saved")
      end
      expect(output).to start_with("Got 5 bytes\nSaved: ")
    end
  end

  it "reads JSON items" do
    events.create(content_type: :json, body: { id: 1, type: "a" })
    before = "stream = DurableStreams.stream('#{events.url}')\ndef process_event(*) = puts('ok')"
    output = run("read_json", before: before) do |line|
      events.close_stream(data: { id: 2, type: "b" }) if line == "ok" && !events.head.closed?
    end
    expect(output).to eq("Event 1: a\nok\nEvent 2: b\nok\n")
  end

  it "writes through a producer" do
    events.create(content_type: :json)
    run("producer", before: "stream = DurableStreams.stream('#{events.url}')")
    expect(events.read_all).to eq([{ "orderId" => "123" }, { "orderId" => "456" }])
  end

  it "uses offsets and live modes" do
    run("live_modes")
    events.create(content_type: :json, body: 1)
    after = "puts DurableStreams.stream('#{events.url}').read_json(offset: '-1').to_a"
    expect(run("offsets", after: after)).to eq("1\n")
    %i[off long_poll sse].each { |live| expect(events.read(live: live).first.items).to eq([1]) }
  end

  describe "error handling" do
    def outcome(data)
      run("error_handling", before: "data = #{data}\nstream = DurableStreams.stream('#{events.url}')")
    end

    it "rescues the error of a closed stream" do
      events.create(content_type: :json, closed: true)
      expect(outcome("{a: 1}")).to eq("Stream is closed: #{events.url}\n")
    end

    it "rescues the error of a missing stream" do
      expect(outcome("{a: 1}")).to eq("Stream not found: #{events.url}\n")
    end

    it "rescues other errors" do
      events.create(content_type: :json)
      expect(outcome("'{oops'")).to match(/\AError : .*JSON/)
    end

    it "rescues a sequence conflict" do
      events.create(content_type: :json).append(1, seq: "b")
      before = <<~RUBY
        data = 2
        stream = DurableStreams.stream('#{events.url}')
        stream.define_singleton_method(:append) { |value| super(value, seq: "a") }
      RUBY
      expect(run("error_handling", before: before)).to eq("Sequence conflict\n")
    end
  end

  it "runs the block form" do
    run("block_form")
    expect(events.read_all).to eq([{ "event" => "test" }])
  end

  it "computes dynamic headers" do
    requests = received_headers(2) do |url|
      DocumentedProgram.new("dynamic_headers", host: url, after: "2.times { client.stream('/a').head }",
                                               before: "def fetch_token = \"token-\#{$n = $n.to_i + 1}\"").run
    end
    expect(requests.map { |headers| headers["authorization"] }).to eq(["Bearer token-1", "Bearer token-2"])
    expect(requests.map { |headers| headers["x-request-id"] }.uniq.size).to eq(2)
  end

  it "chains Enumerable methods" do
    events.create(content_type: :json)
    [{ type: "order.created", id: 1 }, { type: "other", id: 2 }].each { |event| events << event }
    before = <<~RUBY
      stream = DurableStreams.stream('#{events.url}')
      def process_order(item) = item['id'] * 10
      def save_result(result) = puts(result)
    RUBY
    output = run("enumerable_chaining", before: before) do |line|
      events.close_stream(data: { type: "order.created", id: 3 }) if line == "10"
    end
    expect(output).to eq("10\n30\n")
  end

  it "publishes from Rails" do
    events.create(content_type: :json)
    run("rails_integration", after: "EventPublisher.publish({ id: 7 })",
                             env: { "STREAMS_URL" => host, "STREAMS_TOKEN" => "t" })
    expect(events.read_all).to eq([{ "id" => 7 }])
  end

  it "appends from several threads" do
    run("thread_safety")
    10.times { |i| expect(client.stream("/stream-#{i}").read_all).to eq([{ "index" => i }]) }
  end
end
