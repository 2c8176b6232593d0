# frozen_string_literal: true

require "pathname"
require "durable_streams/testing"

# What the library says about mistakes that it finds without a server. Mistakes that a server finds:
# spec/server/mistakes_spec.rb.
RSpec.describe "A mistake", :mistakes do
  let(:streams) { DurableStreams::Client.new(base_url: "http://localhost:4437") }
  let(:json) { streams.stream("/orders", content_type: :json) }
  let(:bytes) { streams.stream("/files", content_type: :bytes) }

  def client(**options)
    DurableStreams::Client.new(**options)
  end

  def producer(**options)
    DurableStreams::Producer.new(stream: json, producer_id: "orders-1", **options)
  end

  describe "in base_url" do
    start = 'base_url must be an http or https URL such as "http://localhost:4437", got '

    mistake("no scheme", "#{start}\"localhost:4437\": it does not begin with http:// or https://") do
      client(base_url: "localhost:4437")
    end
    mistake("one slash", "#{start}\"http:/localhost\": it does not begin with http:// or https://") do
      client(base_url: "http:/localhost")
    end
    mistake("another scheme", "#{start}\"ftp://localhost\": its scheme is not http or https") do
      client(base_url: "ftp://localhost")
    end
    mistake("a newline at the end", "#{start}\"http://localhost\\n\": remove its spaces and newlines") do
      client(base_url: "http://localhost\n")
    end
    mistake("a space in the host", "#{start}\"http://my host\": remove its spaces and newlines") do
      client(base_url: "http://my host")
    end
    mistake("a query", "#{start}\"http://h/?…\": remove its query or fragment (query parameters belong in params)") do
      client(base_url: "http://h/?token=secret")
    end
    mistake("an empty environment variable", "#{start}\"\": it is empty") { client(base_url: "") }
    mistake("no host", "#{start}\"http://\": it has no host") { client(base_url: "http://") }
    mistake("a Symbol", "#{start}Symbol") { client(base_url: :local) }
    mistake("a port that is no number", /\Abase_url .*invalid port number/) { client(base_url: "http://h:port") }
    mistake("a password, which is not shown", /\A((?!secret).)*\z/) { client(base_url: "htp://me:secret@localhost") }
  end

  describe "in the URL of a stream" do
    mistake("a path without a base_url",
            'url "/orders" is a path, and no base_url is configured: set base_url (of Client.new or ' \
            "DurableStreams.configure), or begin the URL with http:// or https://") { DurableStreams.stream("/orders") }
    mistake("a host without a scheme", %r{\Aurl "localhost:4437/s" is a path.*begin the URL with http://}) do
      DurableStreams.stream("localhost:4437/s")
    end
    mistake("nil", "url must be a String or a URI, got nil") { streams.stream(nil) }
    mistake("a Symbol", "url must be a String or a URI, got Symbol") { streams.stream(:orders) }
    mistake("an empty String", "url must not be empty: give a URL or a path") { streams.stream("") }
    mistake("a space at the end",
            'url must not contain control characters or begin or end with a space: "/orders "') do
      streams.stream("/orders ")
    end
    mistake("a fragment", 'url "/rooms/?…" has a fragment, which is not sent: write # as %23') do
      streams.stream("/rooms/#general")
    end
    mistake("a path above the base_url", 'url "/../admin" may leave the base_url\'s path by ".."') do
      streams.stream("../admin")
    end
    mistake("another scheme", /scheme is "ftp"; http and https can be used/) { streams.stream("ftp://h/s") }
    mistake("one slash", 'url must have two slashes after its scheme: "http:/h/s"') { streams.stream("http:/h/s") }
    mistake("invalid UTF-8", "url must be text that is valid in its encoding (UTF-8)") { streams.stream("/\xFF") }
  end

  describe "in the options of a client" do
    mistake("a misspelt option",
            /\Aunknown keyword: :retry_policies \(did you mean retry_policy\? known: base_url, headers, .*\)\z/) do
      client(retry_policies: 3)
    end
    mistake("an option that does not exist", /\Aunknown keyword: :url \(known: base_url, headers,/) do
      client(url: "http://localhost")
    end
    mistake("several of them", /\Aunknown keywords: :header, :time_out \(did you mean headers, timeout\?/) do
      client(header: {}, time_out: 3)
    end
    mistake("a timeout from the environment", 'timeout must be a number of seconds above 0, got "30" (String)') do
      client(timeout: "30")
    end
    mistake("timeout: 0", "timeout must be a number of seconds above 0, got 0 (Integer)") { client(timeout: 0) }
    mistake("no live_timeout", "live_timeout must be a number of seconds above 0, got nil") do
      client(live_timeout: nil)
    end
    mistake("a size that is no Integer",
            "max_message_bytes must be an Integer from 1 to 2147483647, got 1000000.0 (Float)") do
      client(max_message_bytes: 1e6)
    end
    [[3, "Integer"], [{ max_retries: 3 }, "Hash"], [false, "FalseClass"]].each do |given, name|
      mistake("#{given} as retry_policy",
              "retry_policy must be a DurableStreams::RetryPolicy such as " \
              "DurableStreams::RetryPolicy.new(max_retries: 3), got #{name}") { client(retry_policy: given) }
    end
    mistake("exactly_once from the environment", 'exactly_once must be true, false or nil, got "true" (String)') do
      client(exactly_once: "true")
    end
    mistake("a misspelt proxy", "proxy must be a URL, :environment or nil, got :env (Symbol)") { client(proxy: :env) }
    mistake("a proxy that is not supported", /\Aproxy cannot be used: its scheme is "socks5"; http and https/) do
      client(proxy: "socks5://localhost:1080")
    end
    mistake("a trusted origin with a path",
            'trusted_origins contains "https://h/path": an origin is the scheme, host and port of an http or https ' \
            'URL, such as "https://node2:4437"') { client(trusted_origins: ["https://h/path"]) }
    mistake("one trusted origin without brackets",
            "trusted_origins must be an Array of origins, something that responds to call, or nil, got String") do
      client(trusted_origins: "https://h")
    end
    mistake("a missing ca_file", 'ca_file "/no/such.pem" is not a readable file') { client(ca_file: "/no/such.pem") }
    mistake("a key instead of its path; the key is not shown",
            "client_key must be the path of a PEM file, got its content") do
      client(client_key: "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
    end
    mistake("a key without a certificate", "client_key is set without client_cert: set client_cert too") do
      client(client_key: __FILE__)
    end
    mistake("a misspelt option of a RetryPolicy", /\Aunknown keyword: :retries \(did you mean max_retries\?/) do
      DurableStreams::RetryPolicy.new(retries: 3)
    end
    mistake("endless retries", "max_retries must be an Integer from 0 to 2**32 - 1, got Infinity (Float)") do
      DurableStreams::RetryPolicy.new(max_retries: Float::INFINITY)
    end
    mistake("a first pause above the longest",
            "max_delay must be a number of seconds, initial_delay (60) or more, got 30.0 (Float)") do
      DurableStreams::RetryPolicy.new(initial_delay: 60)
    end
    mistake("a success as a status to retry",
            "retryable_statuses must be an Array of HTTP error statuses (400 to 599), got [200] (Array)") do
      DurableStreams::RetryPolicy.new(retryable_statuses: [200])
    end
  end

  describe "in headers and parameters" do
    allowed = "must be a String, a Symbol, a number, true, false, nil, or something that responds to call, got"

    mistake("an Array as headers", "headers must be a Hash, got Array") { client(headers: ["Authorization: secret"]) }
    mistake("an Array as a value", "headers[\"X-Token\"] #{allowed} Array") { client(headers: { "X-Token" => [1] }) }
    mistake("nested parameters", "params[:filter] #{allowed} Hash") { client(params: { filter: { a: 1 } }) }
    mistake("a number as a name", "headers must have String or Symbol names, got Integer") do
      client(headers: { 1 => "a" })
    end
    mistake("a name with a space", /\Aheader name "X Token" has characters that cannot be sent/) do
      client(headers: { "X Token" => "a" })
    end
    mistake("a token with a newline", /\Aheader authorization: its value has a CR, LF, NUL/) do
      client(headers: { "Authorization" => "Bearer secret\n" })
    end
    mistake("a lambda that takes the request",
            'headers["X-Token"] is called without arguments, but the Proc requires 1') do
      client(headers: { "X-Token" => ->(request) { request } })
    end
  end

  describe "when a stream is created" do
    content_type = 'content_type must be :json, :bytes, :text or a MIME type such as "text/csv", got'

    mistake('content_type: "json"', "#{content_type} \"json\" (String)") { json.create(content_type: "json") }
    mistake("a content type without a name", "#{content_type} :html (Symbol)") { json.create(content_type: :html) }
    mistake("two lifetimes", "give ttl_seconds or expires_at, not both") do
      json.create(ttl_seconds: 60, expires_at: Time.now)
    end
    mistake("a misspelt lifetime", /\Aunknown keyword: :ttl \(known: .*ttl_seconds, expires_at/) do
      json.create(ttl: 60)
    end
    mistake("an option of the handle",
            /\Aunknown keyword: :header \(did you mean headers\? known: content_type, context, .*ttl_seconds/) do
      streams.create("/orders", header: {})
    end
    mistake("a negative lifetime", "ttl_seconds must be an Integer from 0 to 2**53 - 1, got -60 (Integer)") do
      json.create(ttl_seconds: -60)
    end
    mistake("a lifetime from the environment",
            'ttl_seconds must be an Integer from 0 to 2**53 - 1, got "60" (String)') { json.create(ttl_seconds: "60") }
    expires_at = 'expires_at must be a Time or an RFC 3339 String such as "2025-01-31T12:00:00Z", got'
    ["tomorrow", "2030-01-01", "2030-01-01 00:00:00 +0000", "2030-01-01T00:00:00Z\n"].each do |given|
      mistake("expires_at: #{given.inspect}", "#{expires_at} #{given.inspect} (String)") do
        json.create(expires_at: given)
      end
    end
    mistake("an expiry in seconds", "#{expires_at} 1900000000 (Integer)") { json.create(expires_at: 1_900_000_000) }
    mistake('closed: "no"', 'closed must be true, false or nil, got "no" (String)') { json.create(closed: "no") }
    mistake("the offset of a fork without a source", "fork_offset and fork_sub_offset require forked_from") do
      json.create(fork_offset: "1")
    end
    mistake("a source that is no stream",
            "forked_from must be a DurableStreams::Stream, a URL or a path, got Integer") do
      json.create(forked_from: 7)
    end
  end

  describe "when data is appended" do
    mistake("a Hash without braces",
            "append takes data as its first argument: write a Hash in braces, append({ type: … })") do
      json.append(type: "order", id: 1)
    end
    mistake("nothing", "append requires data: append(data, seq: nil)") { json.append }
    mistake("a misspelt option", "unknown keyword: :sequence (known: seq)") { json.append(1, sequence: "1") }
    mistake("a Hash to a stream of bytes",
            "a stream of application/octet-stream takes a String, got Hash: append a String, such as its to_json, or " \
            "create the stream with content_type: :json") { bytes.append({ a: 1 }) }
    mistake("nil to a stream of bytes", %r{\Aa stream of application/octet-stream takes a String, got nil: append}) do
      bytes.append(nil)
    end
    mistake("an object that is no JSON",
            "a JSON stream takes a Hash, an Array, a number, true, false, nil, an object with its own to_json, or a " \
            "String of JSON, got Time: convert it to one of these, or set json_encoder") { json.append(Time.now) }
    mistake("NaN", /\Acannot encode Hash as JSON: NaN.* \(JSON has no NaN or Infinity, and is UTF-8\)/,
            JSON::GeneratorError) { json.append({ price: Float::NAN }) }
    mistake("text that is not UTF-8", /\Acannot encode Hash as JSON: .* \(JSON has no NaN or Infinity, and is UTF-8\)/,
            JSON::GeneratorError) { json.append({ name: "\xFF" }) }
    mistake("an Array that contains itself", /\Acannot encode Array as JSON: nesting .* \(is it part of itself\?\)/,
            JSON::NestingError) { json.append([].tap { |array| array << array }) }
    mistake("the inspect of a Hash", /invalid JSON at byte 1: .* \(a String is taken as JSON: append a Hash/,
            :ParseError) { json.append({ a: 1 }.inspect) }
    mistake("text instead of JSON",
            %r{\Aappend to http://localhost:4437/orders: invalid JSON at byte 0: .* \(a String is taken as JSON},
            :ParseError) { json.append("hello") }
    mistake("the arguments of close_stream to close",
            "close takes no arguments: it only releases the handle. To close the stream, call " \
            "close_stream(data:, content_type:)") { json.close(data: { a: 1 }) }
  end

  describe "in the options of a read" do
    live = "live must be :off (or false, nil), :long_poll, :sse or :auto (or true), got"

    mistake("a misspelt live mode", "#{live} :longpoll (Symbol)") { json.read(live: :longpoll) }
    mistake("a String as live mode", "#{live} \"sse\" (String)") { json.read(live: "sse") }
    mistake("from instead of offset",
            "unknown keyword: :from (known: offset, live, format, cursor, retry_policy)") { json.read(from: "1") }
    mistake("from, by the module's method", /\Aunknown keyword: :from \(known: offset, .*retry_policy, context, /) do
      DurableStreams.read("http://localhost/s", from: "1")
    end
    mistake("live, of read_all", "unknown keyword: :live (known: offset)") { json.read_all(live: :auto) }
    mistake("a misspelt offset", /\Aunknown keyword: :ofset \(did you mean offset\?/) { json.read_json(ofset: "1") }
    mistake("a batch as the offset",
            'offset must be a String: "-1" (start), "now" (end) or an offset from the server, got ' \
            "DurableStreams::JsonBatch") { json.read(offset: DurableStreams::JsonBatch.new) }
    mistake("a number as cursor", "cursor must be a String, got Integer") { json.read(cursor: 5) }
    mistake("an unknown format", "format must be :auto, :json or :bytes, got :items (Symbol)") do
      json.read(format: :items)
    end
    mistake("a key of a message, in a batch",
            /\Ano member "type" in a JsonBatch: its messages are in `items`; read_json yields messages/, NameError) do
      DurableStreams::JsonBatch.new(items: [{ "type" => "order" }])["type"]
    end
    mistake("a closed reader",
            "read http://localhost:4437/orders: the reader is closed: make a new one, which can begin at this one's " \
            "next_offset", :ClosedError) { json.read.tap(&:close).to_a }
  end

  describe "in the options of a consumer, worker, subscription or event stream" do
    mistake("a misspelt option",
            "unknown keyword: :on_eror (did you mean on_error? known: checkpoint, live, on_error)") do
      DurableStreams::Consumer.new(json, checkpoint: DurableStreams::Checkpoint::Memory.new, on_eror: nil)
    end
    mistake("threads for concurrency", "unknown keyword: :threads (known: name, concurrency, on_error)") do
      DurableStreams::Worker.new(streams, "orders", threads: 2)
    end
    mistake("a misspelt option of a subclass",
            "unknown keyword: :on_eror (did you mean on_error? known: checkpoint, live, on_error)") do
      consumer = Class.new(DurableStreams::Consumer) { def initialize(*all, **rest) = super(*all, live: true, **rest) }
      consumer.new(json, checkpoint: DurableStreams::Checkpoint::Memory.new, on_eror: nil)
    end
    mistake("a subscription's url as target", /\Aunknown keyword: :target \(known: type, pattern, streams, .*url,/) do
      streams.subscriptions.create("orders", type: :webhook, pattern: "*", target: "http://localhost/hooks")
    end
    mistake("an offset as from, for browsers",
            "unknown keyword: :from (known: offset, last_event_id, heartbeat)") do
      DurableStreams::EventStream.new(json, from: "now")
    end
  end

  describe "in the options of a producer" do
    mistake("no producer_id", /missing keyword: :producer_id/) { DurableStreams::Producer.new(stream: json) }
    mistake("a misspelt option", /\Aunknown keyword: :linger \(did you mean linger_ms\? known: producer_id, stream,/) do
      producer(linger: 5)
    end
    mistake("a Symbol as producer_id", "producer_id must be a String, got Symbol") { producer(producer_id: :orders) }
    ["", "a\n", " a", "\xFF"].each do |id|
      mistake("producer_id: #{id.inspect}",
              "producer_id must be one or more printable characters without surrounding spaces, got #{id.inspect} " \
              "(String)") { producer(producer_id: id) }
    end
    mistake("a negative epoch", "epoch must be an Integer from 0 to 2**53 - 1, got -1 (Integer)") do
      producer(epoch: -1)
    end
    mistake("an epoch from the environment",
            'epoch must be an Integer from 0 to 2**53 - 1, got "1" (String)') { producer(epoch: "1") }
    mistake("a negative linger_ms", "linger_ms must be a number of milliseconds, 0 or more, got -1 (Integer)") do
      producer(linger_ms: -1)
    end
    mistake("batches of no bytes", "max_batch_bytes must be an Integer from 1 to 1073741824, got 0 (Integer)") do
      producer(max_batch_bytes: 0)
    end
    mistake("an unknown when_full", "when_full must be :block or :raise, got :drop (Symbol)") do
      producer(when_full: :drop)
    end
    mistake("auto_claim from the environment", 'auto_claim must be true, false or nil, got "false" (String)') do
      producer(auto_claim: "false")
    end
    mistake("no delivery_timeout at all",
            "delivery_timeout must be a number of seconds above 0, or nil for no limit, got 0 (Integer)") do
      producer(delivery_timeout: 0)
    end
    mistake("a stream and a url", "give exactly one of stream: and url:, got both") { producer(url: "/orders") }
    mistake("neither stream nor url", "give exactly one of stream: and url:, got none") { producer(stream: nil) }
    mistake("a path as stream",
            "stream must be a DurableStreams::Stream (for a URL or a path, give url:), got String") do
      producer(stream: "/orders")
    end
    mistake("a context as client", "client must be a DurableStreams::Client, got DurableStreams::Context") do
      producer(stream: nil, url: "/orders", client: streams.context)
    end
    mistake("a client beside a stream", "give client: only with url:, a stream already has its client") do
      producer(client: streams)
    end
    mistake("a callback that is none", "on_delivery must respond to call, or be nil, got Symbol") do
      producer(on_delivery: :log)
    end
    mistake("a negative timeout of close", "timeout must be a number of seconds, 0 or more, got -1 (Integer)") do
      producer.close(timeout: -1)
    end
  end

  describe "in the use of clients, contexts and settings" do
    mistake("a client as context",
            "context must be a DurableStreams::Context (that of a client is client.context), got " \
            "DurableStreams::Client") { DurableStreams.stream("/orders", context: streams) }
    mistake("client: instead of context:", /\Aunknown keyword: :client \(known: context, content_type, headers,/) do
      DurableStreams::Stream.new("/orders", client: streams)
    end
    mistake("an unknown batching", "batching must be true, false or :shared_values, got :shared (Symbol)") do
      streams.stream("/orders", batching: :shared)
    end
    mistake("configure without a block", "configure requires a block: configure { |config| config.timeout = 10 }") do
      DurableStreams.configure
    end
    mistake("a setting outside of configure",
            /can't modify frozen DurableStreams::Configuration: .*\(frozen: use DurableStreams.configure, or the/,
            FrozenError) { DurableStreams.configuration.timeout = 10 }
    mistake("a file as logger", "logger must be a Logger or nil, got String") { DurableStreams.logger = "log/x.log" }
    mistake("an instance method on the class", /undefined method [`']append' for/, NoMethodError) do
      DurableStreams::Stream.append("/orders", 1)
    end
  end

  if RUBY_VERSION >= "3.1" # See ractor_spec.
    it "in a Ractor: the module's settings belong to the main Ractor" do
      output, = ChildProcess.outcome(<<~RUBY, options: ["-W:no-experimental"])
        ractor = Ractor.new do
          [-> { DurableStreams.stream("/s") },
           -> { DurableStreams.configure { |config| config.timeout = 1 } }].map do |call|
            call.call
          rescue Ractor::IsolationError => e
            e.message
          end
        end
        puts(ractor.respond_to?(:value) ? ractor.value : ractor.take)
      RUBY
      message = "the settings of DurableStreams belong to the main Ractor: make a DurableStreams::Client here\n"
      expect(output).to eq(message * 2)
    end
  end

  describe "in a test" do
    after { DurableStreams::Testing.reset! }

    failed = RSpec::Expectations::ExpectationNotMetError

    mistake("install! is forgotten",
            "expected that something was appended to /orders, but DurableStreams::Testing.install! was not called",
            failed) { expect(DurableStreams::Testing).to have_appended_to("/orders") }
    mistake("another path than the program's",
            "expected that something was appended to /order, but there is no such stream (streams: /orders)", failed) do
      DurableStreams::Testing.install!
      DurableStreams.append("/orders", { a: 1 })
      expect(DurableStreams::Testing).to have_appended_to("/order")
    end
    mistake("a message that is no Array", "messages must be an Array, got Hash") do
      DurableStreams::Testing.mock_transport.seed_stream("/orders", { a: 1 })
    end
  end
end
