# frozen_string_literal: true

# What the library says about mistakes that show when a request is sent. Mistakes that it finds without a server:
# spec/unit/mistakes_spec.rb.
RSpec.describe "A mistake with a server", :mistakes, :faults do
  # No retries, so that messages do not count them.
  let(:client) { fault_client(retries: { max_retries: 0 }, base_url: server_url) }
  let(:path) { unique_path("mistakes") }
  let(:json) { client.create(path, content_type: :json) }
  let(:text) { client.create(path, content_type: :text) }

  def client_of(url, **options)
    fault_client(retries: { max_retries: 0 }, base_url: url, **options)
  end

  def produce(stream, *messages, id: "p", **options)
    producer = DurableStreams::Producer.new(stream: stream, producer_id: id, **options)
    messages.each { |message| producer << message }
    producer.flush
  end

  describe "in the address" do
    mistake("no server listens there",
            "head <url>: could not connect: Connection refused (os error 111) (does a server listen at this host and " \
            "port?)", :ConnectionError) do
      faults.refuse_connections
      client_of(faults.url).stream("/s").head
    end
    mistake("the same, with retries", /\(does a server listen at this host and port\?; 3 tries in [\d.]+ s\)\z/,
            :ConnectionError) do
      faults.refuse_connections
      fault_stream.head
    end
    mistake("the host does not exist", /could not connect: .* \(check the host in the URL\)\z/,
            :ConnectionError) { client_of("http://no-such-host.invalid").stream("/s").head }
    mistake("https, and the server speaks http",
            "head <url>: could not connect: the server does not speak TLS: it responded in plain text (should the " \
            "URL begin with http://?)", :ConnectionError) do
      client_of(server_url.sub("http:", "https:")).stream("/s").head
    end
    mistake("http, and the server responds in TLS",
            /\Ahead .*: the response is not HTTP: .* \(check the port; if the server speaks TLS, the URL must begin/,
            :ConnectionError) do
      faults.on { |reply| reply.raw("\x15\x03\x01\x00\x02\x02\x46".b).fin }
      client_of(faults.url).stream("/s").head
    end
    mistake("a wrong prefix", "read <url>: stream not found (404) (create it first, or check base_url and the path)",
            :StreamNotFoundError) { client_of("#{server_url}/wrong").stream("/s").read_json.to_a }
    mistake("the proxy does not listen",
            "head <url>: could not connect through the proxy <url>: Connection refused (os error 111) (check " \
            "proxy, or http_proxy and https_proxy in the environment)", :ConnectionError) do
      faults.refuse_connections
      client_of(server_url, proxy: faults.url.sub("//", "//me:secret@")).stream("/s").head
    end
    mistake("the server accepts no connection",
            "head <url>: could not connect: no connection within 0.2 s, the client's timeout", :TimeoutError) do
      server = StuckServer.unreachable
      client_of("http://127.0.0.1:#{server.port}", timeout: 0.2).stream("/s").head
    ensure
      server.stop
    end
    mistake("the server takes too long", "head <url>: no response within 0.2 s, the client's timeout",
            :TimeoutError) do
      faults.on(&:hang)
      client_of(faults.url, timeout: 0.2).stream("/s").head
    end
    mistake("the server stops in the middle", "read <url>: no more data within 1 s, the client's timeout",
            :TimeoutError) do
      faults.on { |reply| reply.respond(200, "[1,", length: 9, **read_headers("1")).hang }
      client_of(faults.url, timeout: 1).stream("/s", content_type: :json).read.to_a
    end
  end

  describe "in the server" do
    other = "this does not look like a Durable Streams server"

    { "a web page" => ["the response is HTML and has no Stream-Next-Offset: #{other} (200)", "text/html"],
      "another JSON API" => ["the response has no Stream-Next-Offset: #{other} (200)", "application/json"] }
      .each do |what, (reason, type)|
      mistake(what, "head <url>: #{reason} (check base_url and the path)", :FetchError) do
        faults.on { |reply| reply.respond(200, "{}", "content-type" => type) }
        client_of(faults.url).stream("/s").head
      end
    end
    mistake("a login page, to which a redirect leads",
            "head <url>: the response is HTML and has no Stream-Next-Offset: #{other} (200) (redirected to <url>; " \
            "check base_url and the path)", :FetchError) do
      faults.on { |reply| reply.respond(200, "<html>", "content-type" => "text/html") }
      faults.on(nil, "/s") { |reply| reply.respond(302, "", "location" => "/login") }
      client_of(faults.url).stream("/s").head
    end
    mistake("a redirect from http to https, which a write does not follow",
            "append to <url>: redirected to https://h/s (301) (writes follow only 307 and 308: check base_url, and " \
            "whether it begins with http or https)", :FetchError) do
      faults.on { |reply| reply.respond(301, "", "location" => "https://me:secret@h/s") }
      client_of(faults.url).stream("/s", content_type: :json).append(1)
    end
    mistake("redirects in a circle", "head <url>: the redirects form a circle, by <url>", :FetchError) do
      faults.on { |reply| reply.respond(302, "", "location" => "/login") }
      client_of(faults.url).stream("/s").head
    end
    mistake("a redirect to a server that is down",
            "head <url>: could not connect: Connection refused (os error 111) (redirected to http://127.0.0.1:1/s; " \
            "does a server listen at this host and port?)", :ConnectionError) do
      faults.on { |reply| reply.respond(307, "", "location" => "http://127.0.0.1:1/s") }
      client_of(faults.url).stream("/s").head
    end
    mistake("a redirect to another origin, which gets no credentials",
            "head <url>: unauthorized (401) (redirected to <url>, which got none of your headers: its origin is " \
            "not in trusted_origins; check the credentials: an Authorization header in headers, or user and password " \
            "in the URL)", :UnauthorizedError) do
      faults.on(nil, "/there") { |reply| reply.respond(401) }
      target = faults.url("/there").sub("127.0.0.1", "localhost")
      faults.on(nil, "/s") { |reply| reply.respond(307, "", "location" => target) }
      client_of(faults.url, headers: { "Authorization" => "secret" }).stream("/s").head
    end
    mistake("no route for the request", "append to <url>: stream not found (404): no Route matched (create it first, " \
                                        "or check base_url and the path)", :StreamNotFoundError) do
      faults.on { |reply| reply.respond(404, "no Route matched") }
      client_of(faults.url).stream("/s", content_type: :json).append(1)
    end
    mistake("a method that the server does not know",
            "create <url>: unexpected status (405) (#{other}: check base_url and the path)", :FetchError) do
      faults.on { |reply| reply.respond(405) }
      client_of(faults.url).create("/s", content_type: :json)
    end
    mistake("a gateway without a server", "read <url>: server error (502): 502 Bad Gateway", :FetchError) do
      page = "<html><head><title>502 Bad Gateway</title></head></html>"
      faults.on { |reply| reply.respond(502, page, "content-type" => "text/html") }
      client_of(faults.url).stream("/s", content_type: :json).read.to_a
    end
    mistake("the port for https behind nginx",
            "close <url>: bad request (400): 400 The plain HTTP request was sent to HTTPS port",
            :BadRequestError) do
      page = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
      faults.on { |reply| reply.respond(400, page, "content-type" => "text/html") }
      client_of(faults.url).stream("/s").close_stream
    end
  end

  describe "in the credentials" do
    mistake("none, or wrong ones",
            "append to <url>: unauthorized (401) (check the credentials: an Authorization header in headers, or " \
            "user and password in the URL)", :UnauthorizedError) do
      faults.on { |reply| reply.respond(401) }
      client_of(faults.url).stream("/s", content_type: :json).append(1)
    end
    mistake("those of another user", "append to <url>: forbidden (403) (check what these credentials allow)",
            :ForbiddenError) do
      faults.on { |reply| reply.respond(403, "Forbidden") }
      client_of(faults.url).stream("/s", content_type: :json).append(1)
    end
    mistake("a callable that returns a Hash",
            "header x-token: its callable must return a String, a Symbol, a number, true, false or nil, got Hash") do
      client_of(server_url, headers: { "X-Token" => -> { { token: "secret" } } }).stream("/s").head
    end
    mistake("a callable that returns a line",
            /\Aheader x-token: its value has a CR, LF, .*control character \(a newline at its end: use chomp\)\z/) do
      client_of(server_url, headers: { "X-Token" => -> { "secret\n" } }).stream("/s").head
    end
    mistake("a producer's callable raises",
            "produce to <url>: the application's code raised KeyError: no token", :ProducerError) do
      produce(json, 1, headers: { "X-Token" => -> { raise KeyError, "no token" } })
    end
  end

  describe "in TLS" do
    def head(server, **options)
      client_of(server.url, **options).stream("/s").head
    end

    mistake("a certificate of a private authority",
            "head <url>: could not connect: invalid peer certificate: UnknownIssuer (this machine does not trust the " \
            "authority that signed the server's certificate; set ca_file to trust a private one)",
            :ConnectionError) { TlsServer.open { |server| head(server) } }
    mistake("another host name", /certificate not valid for name .* \(the URL must have a host name that the server's/,
            :ConnectionError) do
      TlsServer.open(name: "DNS:other.example") { |server| head(server, ca_file: server.ca_file) }
    end
    mistake("an expired certificate", /certificate expired.* \(renew the server's certificate, or check this machine's/,
            :ConnectionError) do
      TlsServer.open(lifetime: -60) { |server| head(server, ca_file: server.ca_file) }
    end
    mistake("no client certificate",
            /CertificateRequired \(the server requires a certificate of the client: set client_cert and client_key\)\z/,
            :ConnectionError) do
      TlsServer.open(client_certs: true) { |server| head(server, ca_file: server.ca_file) }
    end
    mistake("a client certificate of its own", /\(the server does not accept the certificate of client_cert\)/,
            :ConnectionError) do
      TlsServer.open(client_certs: true) do |server|
        cert, key = server.client_files(self_signed: true)
        head(server, ca_file: server.ca_file, client_cert: cert, client_key: key)
      end
    end
    mistake("a certificate without a key", /\Ahead .*: client_cert .*ca.pem contains no private key: set client_key/,
            :ConnectionError) do
      TlsServer.open { |server| head(server, client_cert: server.ca_file) }
    end
    mistake("a ca_file that is none", /\Ahead .*: ca_file .*_spec.rb contains no certificate\z/,
            :ConnectionError) { TlsServer.open { |server| head(server, ca_file: __FILE__) } }
  end

  describe "without create" do
    create = "stream not found (404) (create it first, or check base_url and the path)"
    check = "stream not found (404) (check base_url and the path)"

    { "append to <url>: #{create}" => ->(stream) { stream.append({ a: 1 }) },
      "read <url>: #{create}" => ->(stream) { stream.read.to_a },
      "close <url>: #{create}" => :close_stream.to_proc,
      "produce to <url>: #{create}" => ->(stream) { DurableStreams::Producer.new(stream: stream, producer_id: "p") },
      "head <url>: #{check}" => :head.to_proc, "delete <url>: #{check}" => :delete.to_proc,
      "fork <url>: stream not found (404) (the source of the fork does not exist)" => ->(s) { s.fork("#{s.url}-2") } }
      .each do |message, call|
      mistake(message[/\w+/], message, :StreamNotFoundError) { call.call(client.stream(path)) }
    end
    mistake("connect", "connect to <url>: #{create}", :StreamNotFoundError) { client.connect(path) }
  end

  describe "in what a stream is" do
    mistake("created again with another configuration",
            /\Acreate .*: stream already exists with another configuration \(409\).* differs: use it without creating/,
            :StreamExistsError) { client.create(json.url, content_type: :text) }
    mistake("created again when it is closed", /whether it is closed differs/, :StreamExistsError) do
      json.close_stream
      client.create(json.url, content_type: :json)
    end
    mistake("another content type on the handle",
            /\Aappend to .*: content type differs from the stream's \(409\).* \(without content_type: the handle uses/,
            :ContentTypeMismatchError) { client.stream(text.url, content_type: :json).append({ a: 1 }) }
    mistake("read_json on a stream of text",
            "read <url>: the response is not a JSON array (byte 0) (the stream's content type is not JSON: use " \
            "read or read_bytes, not read_json)", :ParseError) do
      text.append("hello")
      text.read_json.to_a
    end
    mistake("a closed stream",
            "append to <url>: stream is closed (409) (it accepts no more data, for good: use another stream)",
            :StreamClosedError) do
      json.close_stream
      json.append({ a: 1 })
    end
    mistake("numbers as seq",
            "append to <url>: sequence conflict: seq must be above the stream's last one, compared as text (\"10\" " \
            "is below \"9\") (409)", :SeqConflictError) do
      json.append({ a: 1 }, seq: 9)
      json.append({ a: 2 }, seq: 10)
    end
    mistake("more than the server accepts",
            "append to <url>: payload too large (413) (append less at a time, or raise the limit of the server or " \
            "of a proxy before it)", :PayloadTooLargeError) do
      faults.on { |reply| reply.respond(413) }
      client_of(faults.url).stream("/s", content_type: :bytes).append("x" * 2_000_000)
    end
    mistake("more than the server accepts of a producer", /\(lower max_batch_bytes, or raise the limit of the server/,
            :PayloadTooLargeError) do
      faults.on { |reply| reply.respond(413) }
      produce(client_of(faults.url).stream("/s", content_type: :bytes), "x" * 2_000_000)
    end
    mistake("too many requests", "append to <url>: rate limited (429) (try again in 7 s)", :RateLimitedError) do
      faults.on { |reply| reply.respond(429, "", "retry-after" => "7") }
      client_of(faults.url).stream("/s", content_type: :bytes).append("x")
    end
  end

  describe "in the offset" do
    advice = "(an offset is \"-1\" (the start), \"now\" (the end), or a next_offset of the same stream)"

    [0, "latest", "beginning", "-5"].each do |offset|
      mistake(offset.inspect, "read <url>: bad request (400): malformed offset #{advice}", :BadRequestError) do
        json.read(offset: offset).to_a
      end
    end
  end

  describe "in a producer" do
    mistake("the id and epoch of an earlier run",
            "produce to <url>: this producer id and epoch were used before, so the server treats new messages as " \
            "duplicates and stores none: use a higher epoch, or auto_claim: true", :EpochReusedError) do
      2.times { |run| produce(json, run) }
    end
    mistake("an id that another producer uses",
            /this epoch of the producer id is closed \(403\).* \(the id's epoch is 3 now: give each live producer its/,
            :StaleEpochError) do
      produce(json, 1, epoch: 3)
      produce(json, 2, epoch: 1)
    end
    mistake("an append after close", "produce to <url>: the producer is closed: make another one",
            :ClosedError) do
      DurableStreams::Producer.new(stream: json, producer_id: "p").tap(&:close) << 1
    end
    mistake("a timeout of close that is too short",
            "produce to <url>: the timeout of close has passed, and not everything is acknowledged: see undelivered",
            :TimeoutError) do
      faults.on(&:hang)
      stuck = DurableStreams::Producer.new(stream: fault_stream, producer_id: "p")
      stuck << 1
      stuck.close(timeout: 0.2)
    end
    mistake("a full buffer",
            "produce to <url>: the producer's buffer is full (max_buffered_bytes); with when_full: :block, append " \
            "waits", :ProducerError) do
      faults.on(&:hang)
      options = { max_buffered_bytes: 10, when_full: :raise }
      producer = DurableStreams::Producer.new(stream: fault_stream, producer_id: "p", **options)
      3.times { producer << "1234567" }
    ensure
      expect { producer.close(timeout: 0) }.to raise_error(DurableStreams::TimeoutError)
    end

    it "a process that ends without flush: the log says what did not arrive" do
      faults.refuse_connections
      output, = ChildProcess.outcome(<<~RUBY, "#{faults.url}/s")
        producer = DurableStreams::Producer.new(url: ARGV[0], producer_id: "p")
        producer << { a: 1 }
      RUBY
      expect(output).to match(%r{1 appended messages did not reach http://.*/s: .*\(flush or close the producer before})
    end

    it "a callback with too few arguments: the log names it" do
      log = StringIO.new
      before = DurableStreams.logger
      DurableStreams.logger = Logger.new(log)
      logged = Thread::Queue.new
      DurableStreams.logger.formatter = ->(*, message) { logged.push(message) && message }
      produce(json, 1, on_delivery: ->(result) { result })
      expect(logged.pop).to start_with("durable_streams: a producer's on_delivery raised ArgumentError: wrong number")
    ensure
      DurableStreams.logger = before
    end
  end

  describe "in the use of a client" do
    mistake("after close", "append to <url>: the client is closed", :ClosedError) do
      json
      client.close
      json.append({ a: 1 })
    end
    mistake("a stream outside of its client's block", "append to <url>: the client is closed", :ClosedError) do
      stream = DurableStreams::Client.open(base_url: server_url) { |own| own.stream("/s", content_type: :json) }
      stream.append({ a: 1 })
    end
  end
end
