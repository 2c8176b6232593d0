# frozen_string_literal: true

# Invalid input raises an error with its own class, at once. The message names what is invalid.
RSpec.describe "Invalid input", :faults do
  let(:client) { fault_client }
  let(:json) { client.stream("/s", content_type: :json) }
  let(:bytes) { client.stream("/s", content_type: :bytes) }

  after { expect(faults.requests).to be_empty unless @requests_expected }

  describe "a URL" do
    it "raises ArgumentError for a path without a base_url" do
      expect { DurableStreams::Client.new.stream("/s") }
        .to raise_error(ArgumentError, %r{\Aurl "/s" is a path, and no base_url is configured})
    end

    { nil => /url must be a String.*got nil/, 7 => /got Integer/, "" => /not be empty/, "  " => /not be empty/,
      "http://" => %r{url "http://" cannot be used: empty host},
      "http://h:port/" => %r{url "http://h:port/" cannot be used: invalid port},
      "ftp://h/s" => /scheme is "ftp"/, "http://h/\n" => /control characters/, "http://[::1/s" => /cannot be used/,
      " http://h/s" => /begin or end with a space/ }.each do |url, message|
      it "raises ArgumentError for #{url.inspect}" do
        expect { DurableStreams::Client.new.stream(url) }.to raise_error(ArgumentError, message)
      end
    end

    { "streams.example.com" => /base_url must be an http or https URL/, "http://h/?q" => /remove its query/,
      :sym => /got Symbol/ }.each do |url, message|
      it "raises ArgumentError for the base_url #{url.inspect}" do
        expect { DurableStreams::Client.new(base_url: url) }.to raise_error(ArgumentError, message)
      end
    end
  end

  describe "a path that leaves the base_url's path" do
    let(:client) { fault_client(base_url: faults.url("/v1").sub("//", "//me:pw@")) }

    { "of a stream" => ->(client, path) { client.stream(path) },
      "of a new stream" => ->(client, path) { client.create(path, content_type: :json) },
      "of a fork" => ->(client, path) { client.stream("/s").fork(path) },
      "of a fork's source" => ->(client, path) { client.stream("/s").create(forked_from: path) } }.each do |name, call|
      it "raises ArgumentError however it is encoded (#{name})" do
        %w[/../../admin /%2e%2E/admin ..\\admin /..%2fadmin].each do |path|
          expect { call.call(client, path) }.to raise_error(ArgumentError, /may leave the base_url's path by "\.\."/)
        end
      end
    end
  end

  describe "an option" do
    it "raises an ArgumentError that names it if it is unknown" do
      [-> { DurableStreams::Client.new(bogus: 1) }, -> { client.stream("/s", bogus: 1) }, -> { json.create(bogus: 1) },
       -> { json.read(bogus: 1) }, -> { json.append(1, bogus: 1) }].each do |call|
        expect(&call).to raise_error(ArgumentError, /unknown keyword: :bogus/)
      end
    end

    { timeout: [0, -1, "30", nil, Float::NAN, Float::INFINITY], live_timeout: [0, -1, "30", nil, Float::NAN],
      max_message_bytes: [0, -1, 1.5, nil, 1 << 31], ca_file: [7, "/nonexistent.pem"],
      client_cert: [7, "/nonexistent.pem"], client_key: [7, "/nonexistent.pem", __FILE__],
      retry_policy: [3, { max_retries: 1 }], headers: ["X", [1], { 1 => "x" }, { "X" => [] }],
      params: ["p", { "p" => Object.new }] }.each do |name, values|
      values.each do |value|
        it "raises ArgumentError for #{name}: #{value.inspect[0, 30]}" do
          expect { DurableStreams::Client.new(name => value) }.to raise_error(ArgumentError, /#{name}/)
        end
      end
    end

    ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"].each do |value|
      it "raises ArgumentError for a header value #{value.inspect}, fixed or computed" do
        message = /header x-token: its value has a CR, LF, NUL/
        expect { client.stream("/s", headers: { "X-Token" => value }) }.to raise_error(ArgumentError, message)
        computed = client.stream("/s", headers: { "X-Token" => -> { value } }, content_type: :json)
        expect { computed.append(1) }.to raise_error(ArgumentError, message)
      end
    end

    it "raises ArgumentError for an invalid header name" do
      ["X Y", "X:Y", "X\r\nY", ""].each do |name|
        expect { client.stream("/s", headers: { name => "x" }) }.to raise_error(ArgumentError, /header name/)
      end
    end

    it "raises ArgumentError for an invalid live mode, offset or cursor" do
      expect { json.read(live: :websocket) }
        .to raise_error(ArgumentError, /:off.*:long_poll, :sse or :auto.*:websocket/)
      expect { json.read(offset: []) }.to raise_error(ArgumentError, /offset must be a String.*got \[\] \(Array\)/)
      expect { json.read(cursor: 1) }.to raise_error(ArgumentError, /cursor must be a String, got Integer/)
    end

    it "raises ArgumentError for an invalid seq, expiry or content type" do
      expect { json.append(1, seq: "a\r\nb") }.to raise_error(ArgumentError, /stream-seq/)
      expect { json.create(ttl_seconds: 1, expires_at: Time.now) }.to raise_error(ArgumentError, /ttl_seconds.*expires/)
      expect { json.create(ttl_seconds: -1) }.to raise_error(ArgumentError, /ttl_seconds/)
      expect { client.stream("/s", content_type: 7) }.to raise_error(ArgumentError, /content_type/)
      expect { bytes.create(content_type: "a\r\nb") }.to raise_error(ArgumentError, /content.type/)
    end
  end

  {
    "Client#create" => ->(client) { client.create("/s", content_type: "json") },
    "Stream#create" => ->(client) { client.stream("/s").create(content_type: "json") },
    "Client#stream" => ->(client) { client.stream("/s", content_type: "json") },
    "Stream#close_stream" => ->(client) { client.stream("/s").close_stream(data: 1, content_type: "json") },
    "Producer.new" => lambda do |client|
      DurableStreams::Producer.new(url: "/s", client: client, producer_id: "p", content_type: "json")
    end,
    "DurableStreams.configure" => ->(_) { DurableStreams.configure { |config| config.default_content_type = "json" } }
  }.each do |name, call|
    it "raises an ArgumentError that names :json for a content type without a slash (#{name})" do
      expect { call.call(client) }.to raise_error(ArgumentError, /content_type must be .*:json.*got "json"/)
    end
  end

  it "accepts a content type without a slash from the server" do
    @requests_expected = true
    faults.on("HEAD") { |reply| reply.respond(200, "content-type" => "json", **FaultHelpers::OFFSET) }
    faults.on("POST") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    stream = client.stream("/s")
    stream.head
    DurableStreams::Producer.open(stream: stream, producer_id: "p", headers: { "x-a" => "b" }) do |producer|
      producer << "x"
    end
    expect(faults.requests(method: "POST").map { |request| request.header("content-type") }).to eq(["json"])
  end

  describe "data" do
    ["", " ", "{", "{'a': 1}", "[1,]", "nul", "1 2", "\"\\x\"", "[1", "NaN", "\xFF", "\"a\nb\""].each do |text|
      it "raises ParseError for #{text.inspect} on a JSON stream" do
        expect { json.append(text) }
          .to raise_error(DurableStreams::ParseError, /invalid JSON at byte \d+.*a String is taken as JSON/)
      end
    end

    { "append to" => ->(stream) { stream.append("{") }, "create" => ->(stream) { stream.create(body: "{") },
      "close" => ->(stream) { stream.close_stream(data: "{") } }.each do |operation, call|
      it "raises an error with the operation and the URL if it is not JSON (#{operation})" do
        batching = [json, client.stream("/s", content_type: :json, batching: false)]
        expect(batching.map { |stream| parse_error { call.call(stream) } })
          .to all(have_attributes(url: json.url, message: /\A#{operation} #{json.url}: invalid JSON at byte 1/))
      end
    end

    def parse_error
      yield
    rescue DurableStreams::ParseError => e
      e
    end

    [{ "a" => 1 }, [1], 1, 1.5, true, nil, :sym].each do |data|
      it "raises ArgumentError for #{data.inspect} on a byte stream" do
        expect { bytes.append(data) }.to raise_error(ArgumentError, /String.*got #{data.nil? ? "nil" : data.class}:/)
      end
    end

    it "raises an error if JSON cannot represent it" do
      [Float::NAN, Float::INFINITY, [Float::NAN]].each do |data|
        expect { json.append(data) }.to raise_error(StandardError, /NaN|Infinity/)
      end
      nested = (1..200).inject([]) { |inner, _| [inner] }
      expect { json.append(nested) }.to raise_error(StandardError, /nest/)
      expect { json.append("x" => "\xFF") }.to raise_error(StandardError)
    end
  end

  describe "a server" do
    it "raises ConnectionError if its name does not resolve" do
      unresolved = fault_client(base_url: "http://no-such-host.invalid")
      calls = FaultHelpers::REQUESTS.values.map { |kind| kind.method(:send_on) }
      (calls << ->(stream) { stream.read(live: :auto).first }).each do |call|
        expect { call.call(unresolved.stream("/s", content_type: :json)) }
          .to raise_error(DurableStreams::ConnectionError, %r{http://no-such-host.invalid/s: could not connect})
      end
    end

    {
      "append to" => ->(stream) { stream.append(1) }, "close" => ->(stream) { stream.close_stream(data: "x") },
      "read" => ->(stream) { stream.read }, "head" => ->(stream) { stream.json? },
      "produce to" => ->(stream) { DurableStreams::Producer.new(stream: stream, producer_id: "p") },
      "connect to" => ->(stream) { DurableStreams::Stream.connect(stream.url, context: stream.context) }
    }.each do |operation, call|
      it "raises an error that names the operation if the stream does not exist (#{operation})" do
        @requests_expected = true
        faults.on("HEAD") { |reply| reply.respond(404) }
        expect { call.call(client.stream("/s")) }.to raise_error(DurableStreams::StreamNotFoundError) { |error|
          expect(error.message).to start_with("#{operation} #{json.url}: stream not found (404) (")
        }
        expect(faults.requests.map(&:verb)).to eq(["HEAD"])
      end
    end

    it "raises StreamNotFoundError from read_bytes if the stream does not exist" do
      @requests_expected = true
      faults.on("HEAD") { |reply| reply.respond(404) }
      expect { client.stream("/s").read_bytes }
        .to raise_error(DurableStreams::StreamNotFoundError, %r{\Aread http://.*/s: stream not found})
    end

    it "raises ConnectionError if its port is closed" do
      faults.refuse_connections
      expect { json.append(1) }
        .to raise_error(DurableStreams::ConnectionError, /\Aappend to #{json.url}: could not connect: .*refused/i)
    end

    it "raises ConnectionError if it does not speak HTTP" do
      @requests_expected = true
      faults.on { |reply| reply.raw("SSH-2.0-OpenSSH_9.2\r\n").fin }
      expect { json.head }.to raise_error(DurableStreams::ConnectionError, /head .*: the response is not HTTP/)
    end

    describe "that is not a Durable Streams server raises a FetchError that says so from" do
      calls = FaultHelpers::REQUESTS.transform_values { |kind| ->(stream) { kind.send_on(stream) } }
      FaultReads::MODES.each do |mode|
        calls["read live: :#{mode}"] = ->(stream) { stream.read(live: mode).first }
        calls["read bytes live: :#{mode}"] = ->(stream) { stream.read_bytes(live: mode).first }
      end
      calls.each do |name, call|
        it name do
          @requests_expected = true
          page = ["<html>Welcome to the hotel</html>", { "content-type" => "text/html" }]
          [page, ["[]", FaultHelpers::JSON_TYPE]].each do |body, headers|
            faults.on { |reply| reply.respond(200, body, **headers) }
            expect { call.call(json) }.to raise_error(
              an_instance_of(DurableStreams::FetchError)
                .and(have_attributes(message: /does not look like a Durable Streams server \(200\)/, status: 200,
                                     retryable?: false, outcome_unknown?: !name.match?(/head|read/)))
            )
          end
          expect(faults.requests.size).to eq(2)
        end
      end
    end

    {
      "too long" => ["1" * 8193, /more than 8192 bytes/],
      "not ASCII" => ["1\u00e9", /characters that cannot be sent back/]
    }.each do |what, (offset, message)|
      it "raises a ParseError that names the header if its offset is #{what}" do
        @requests_expected = true
        faults.on { |reply| reply.read("[1]", next_offset: offset) }
        [-> { json.read.to_a }, -> { json.read(live: :long_poll).to_a }, -> { json.head },
         -> { json.append(1) }].each do |call|
          expect(&call).to raise_error(DurableStreams::ParseError, /the server's Stream-Next-Offset .*#{message}/)
        end
      end
    end

    it "raises a ParseError that names the field if an event's offset is too long" do
      @requests_expected = true
      faults.on { |reply| reply.sse.data("[1]").control("1" * 8193).hang }
      expect { json.read(live: :sse).to_a }
        .to raise_error(DurableStreams::ParseError, /the server's streamNextOffset has more than 8192 bytes/)
    end

    it "raises a ParseError that names the header if its cursor is too long" do
      @requests_expected = true
      faults.on { |reply| reply.read("[1]", next_offset: "1", cursor: "c" * 8193) }
      expect { json.read(live: :long_poll).to_a }
        .to raise_error(DurableStreams::ParseError, /the server's Stream-Cursor has more than 8192 bytes/)
    end

    it "gets no request if the caller's own offset is too long: that raises ArgumentError" do
      expect { json.read(offset: "1" * 100_000).to_a }.to raise_error(ArgumentError, /\Aread #{json.url}/)
    end

    it "raises a ParseError with the URL if it sends invalid JSON" do
      @requests_expected = true
      faults.on { |reply| reply.respond(200, "[1,x]", **read_headers("1")) }
      [-> { json.read.first }, -> { json.read_json.to_a }].each do |read|
        expect(&read).to raise_error(DurableStreams::ParseError, /\Aread #{json.url}: invalid JSON/) { |error|
          expect(error.url).to eq(json.url)
        }
      end
    end

    it "raises ConnectionError after the policy's retries if it truncates the body" do
      @requests_expected = true
      faults.on { |reply| reply.respond(200, "[1", length: 9, **read_headers("1")).fin }
      expect { json.read.first }.to raise_error(DurableStreams::ConnectionError, /the response broke off/)
      expect(faults.requests.size).to eq(3)
    end

    it "raises ParseError if it sends a message larger than max_message_bytes" do
      @requests_expected = true
      faults.on { |reply| reply.read("[\"#{"x" * 1000}\"]", next_offset: "1") }
      limited = fault_client(max_message_bytes: 500).stream("/s", content_type: :json)
      expect { limited.read.first }.to raise_error(DurableStreams::ParseError, /500/)
    end
  end

  it "ends a program with an exception, not with a crash" do
    {
      'DurableStreams.stream("/s").head' => "ArgumentError", "DurableStreams.stream(nil)" => "ArgumentError",
      'DurableStreams.read("http://127.0.0.1:1/s", live: :x)' => "ArgumentError",
      'DurableStreams::Client.new(retry_policy: DurableStreams::RetryPolicy.new(max_retries: 0))
         .stream("http://127.0.0.1:1/s").head' => "DurableStreams::ConnectionError"
    }.each do |program, error|
      output, status = ChildProcess.outcome(program)
      expect([status.exitstatus, output]).to match([1, /\(#{error}\)/])
    end
  end
end
