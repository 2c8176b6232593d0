# frozen_string_literal: true

require "net/http"
require "socket"
require "stringio"
require "timeout"
require_relative "../support/fault_server"

# Checks that the fault server's faults are what their names say.
RSpec.describe FaultServer do
  include_context "with raw requests"

  describe "responses" do
    it "have a status, headers and a body" do
      server.on("GET", "/a") { |reply| reply.respond(201, "h\u00E9llo", "X-One" => "1", "set-cookie" => %w[a b]) }
      response = get("/a")
      expect([response.code, response.body.b, response["x-one"]]).to eq(["201", "h\u00E9llo".b, "1"])
      expect(response.get_fields("set-cookie")).to eq(%w[a b])
    end

    it "have the status 501 if no rule matches the request" do
      response = get("/nothing")
      expect([response.code, response.body]).to eq(["501", "The fault server has no reply for GET /nothing.\n"])
    end

    it "come from limited rules in their order, then from the latest of the others" do
      server.on { |reply| reply.respond(200, "any") }
      server.on("GET", %r{\A/s}) { |reply| reply.respond(200, "latest") }
      server.next("GET", "/s") { |reply| reply.respond(200, "first") }
      server.on("GET", "/s", times: 2) { |reply| reply.respond(200, "then") }
      expect(Array.new(4) { get("/s").body }).to eq(%w[first then then latest])
      expect(get("/other").body).to eq("any")
    end

    it "may depend on the query" do
      server.on("GET", "/s") { |reply| reply.respond(200, "catch-up") }
      server.on("GET", "/s", query: { "live" => /sse|long-poll/ }) { |reply| reply.respond(200, "live") }
      expect([get("/s?offset=-1").body, get("/s?live=sse&offset=1").body]).to eq(%w[catch-up live])
    end

    it "have no body for HEAD, 204 and 304" do
      server.on { |reply| reply.respond(200, "body") }
      server.on("GET", "/204") { |reply| reply.respond(204, "body") }
      expect(Net::HTTP.start("127.0.0.1", server.port) { |http| http.head("/").to_hash })
        .to include("content-length" => ["4"])
      get_raw("/204") { |socket| expect(socket.readpartial(1000)).to eq("HTTP/1.1 204 Scripted\r\n\r\n") }
    end

    it "may be reads, have Retry-After, or redirect" do
      server.next { |reply| reply.read("[1]", next_offset: "7", cursor: "c", closed: true) }
      server.next { |reply| reply.retry_after(3) }
      server.next { |reply| reply.retry_after(Time.at(0), 503) }
      ["/other", "//other.example/s", "http://127.0.0.1:1/s"].each { |to| server.next { |reply| reply.redirect(to) } }
      expect(get("/").to_hash).to include(
        "content-type" => ["application/json"], "stream-next-offset" => ["7"], "stream-cursor" => ["c"],
        "stream-up-to-date" => ["true"], "stream-closed" => ["true"]
      )
      expect(get("/")["retry-after"]).to eq("3")
      expect(get("/")["retry-after"]).to eq("Thu, 01 Jan 1970 00:00:00 GMT")
      expect(Array.new(3) { get("/")["location"] }).to eq(["/other", "//other.example/s", "http://127.0.0.1:1/s"])
    end

    it "may redirect in a loop" do
      server.on("GET", "/a") { |reply| reply.redirect("/b") }
      server.on("GET", "/b") { |reply| reply.redirect("/a") }
      expect([get("/a"), get("/b")].map { |response| response["location"] }).to eq(%w[/b /a])
    end
  end

  describe "faults" do
    it "closes a connection before it reads anything, in an orderly way or with a reset" do
      server.on_connect(&:fin)
      server.on_connect { |reply| reply.wait(:connected).rst }
      connect { |socket| expect(socket.read).to eq("") }
      connect do |socket|
        server.release(:connected) # Ruby's connect hides a reset that arrives too early.
        expect { socket.read }.to raise_error(Errno::ECONNRESET)
      end
      server.on { |reply| reply.respond(200, "ordinary again") }
      expect(get("/").body).to eq("ordinary again")
    end

    it "closes a connection after it has read the request" do
      server.next("POST", &:fin)
      server.next("POST", &:rst)
      expect { post("/s", "data") }.to raise_error(EOFError)
      server.wait_until_responded(1)
      expect { post("/s", "data") }.to raise_error(Errno::ECONNRESET)
      expect(server.requests.map(&:body)).to eq(%w[data data])
    end

    it "responds before it has read the request's body" do
      server.next("POST", "/s", read_body: false) { |reply| reply.respond(413, "too large").rst }
      connect("POST /s HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nonly the start") do |socket|
        expect(socket.readpartial(12)).to eq("HTTP/1.1 413")
      end
      expect(server.wait_for_request.body).to be_nil
    end

    it "closes the connection after a number of bytes of the response" do
      server.next { |reply| reply.cut(after: 20).respond(200, "x" * 100) }
      server.next { |reply| reply.cut(after: 20, with: :rst).respond(200, "x" * 100) }
      get_raw("/") { |socket| expect(socket.read).to eq("HTTP/1.1 200 Scripte") }
      get_raw("/") { |socket| expect { 2.times { socket.read(21) } }.to raise_error(Errno::ECONNRESET) }
      expect(server.events(type: :closed).map { |event| event[:how] }).to eq(%i[fin rst])
    end

    it "sends a body shorter than its Content-Length" do
      server.next { |reply| reply.respond(200, "short", length: 100).fin }
      get_raw("/") { |socket| expect(socket.read).to end_with("content-length: 100\r\n\r\nshort") }
    end

    it "sends garbage" do
      server.next { |reply| reply.raw("\x00\xFF not HTTP \r\n\r\n").fin }
      get_raw("/") { |socket| expect(socket.read).to eq("\x00\xFF not HTTP \r\n\r\n".b) }
    end

    it "splits a chunked body at every byte" do
      server.next { |reply| reply.head(200).chunk("h\u00E9llo", size: 1).finish }
      get_raw("/") do |socket|
        socket.close_write
        expect(socket.read).to end_with("1\r\nh\r\n1\r\n\xC3\r\n1\r\n\xA9\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n".b)
      end
      server.next { |reply| reply.head(200).chunk("h\u00E9llo", size: 1).finish }
      expect(get("/").body.b).to eq("h\u00E9llo".b)
    end

    it "sends a response slowly, a piece at a time" do
      server.next { |reply| reply.pieces(20, every: 0.01).respond(200, "x" * 100) }
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      expect(get("/").body).to eq("x" * 100)
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - started).to be >= 0.06
    end

    it "never responds, and records that the client closes" do
      server.next(&:hang)
      get_raw("/") { server.wait_for_request }
      expect(server.wait_until_closed(by: :client)).to eq(:fin)
    end

    it "closes a connection that is idle between two requests" do
      server.on { |reply| reply.respond(200, "1") }
      server.next { |reply| reply.respond(200, "0").wait(:idle).fin }
      get_raw("/") do |socket|
        expect(socket.readpartial(1000)).to end_with("0")
        server.release(:idle)
        expect(socket.read).to eq("")
      end
      expect(server.wait_until_closed(by: :server)).to eq(:fin)
    end

    it "refuses connections, and accepts them again at the same port" do
      server.on { |reply| reply.respond(200, "back") }
      server.refuse_connections
      expect { get("/") }.to raise_error(Errno::ECONNREFUSED)
      server.accept_connections
      expect(get("/").body).to eq("back")
    end

    it "responds 400 to bytes that are not an HTTP request, and records them" do
      connect("nonsense\r\n\r\n") { |socket| expect(socket.read).to start_with("HTTP/1.1 400 ") }
      expect(server.events(type: :malformed).size).to eq(1)
    end
  end

  describe "keep-alive" do
    it "serves several requests on a connection, also chunked ones" do
      server.on { |reply| reply.respond(200, "ok") }
      Net::HTTP.start("127.0.0.1", server.port) do |http|
        http.get("/1")
        request = Net::HTTP::Post.new("/2", "transfer-encoding" => "chunked", "content-type" => "text/plain")
        request.body_stream = StringIO.new("in chunks")
        http.request(request)
      end
      expect(server.requests.map { |request| [request.number, request.connection, request.body] })
        .to eq([[1, 1, ""], [2, 1, "in chunks"]])
    end

    it "ends if either side sends Connection: close" do
      server.on { |reply| reply.respond(200, "ok") }
      server.on("GET", "/close") { |reply| reply.respond(200, "ok", "Connection" => "close") }
      get_raw("/close") { |socket| expect(socket.read).to end_with("ok") }
      connect("GET / HTTP/1.1\r\nConnection: close\r\n\r\n") { |socket| expect(socket.read).to end_with("ok") }
    end
  end

  describe "steps" do
    it "play an SSE response up to a gate, and the rest when the spec opens it" do
      server.next("GET", "/s") do |reply|
        reply.sse(base64: true).data("YQ==").control("1", cursor: "c")
        reply.wait(:more).event("other", "a\nb").control("2", closed: true).finish
      end
      get_raw("/s") do |socket|
        socket.gets("\r\n\r\n")
        first = "event: data\ndata: YQ==\n\n"
        expect(socket.read(4 + first.size)).to eq("18\r\n#{first}")
        server.wait_until_waiting(:more)
        server.release(:more)
        rest = socket.gets("0\r\n\r\n")
        expect(rest).to include("event: control\ndata: {\"streamNextOffset\":\"1\",\"streamCursor\":\"c\"}\n\n")
        expect(rest).to include("event: other\ndata: a\ndata: b\n\n")
        expect(rest).to include("event: control\ndata: {\"streamNextOffset\":\"2\",\"streamClosed\":true}\n\n")
      end
    end

    it "let the released number of responses pass a gate, and all once it is open" do
      server.on { |reply| reply.wait(:gate).respond(200, "ok") }
      clients = Array.new(3) { Thread.new { get("/").code } }
      server.wait_until_waiting(:gate, 3)
      server.release(:gate, 2)
      server.open(:gate)
      expect(clients.map(&:value)).to eq(%w[200 200 200])
    end

    it "let one response wait for another" do
      server.on("GET", "/early") { |reply| reply.wait(:late).respond(200, "early") }
      server.on("GET", "/late") { |reply| reply.respond(200, "late").signal(:late) }
      early = Thread.new { get("/early").body }
      server.wait_until_waiting(:late)
      expect([get("/late").body, early.value]).to eq(%w[late early])
    end

    it "end at a gate when the client closes, unless they are patient" do
      server.next("GET", "/s") { |reply| reply.wait(:never).respond }
      get_raw("/s") { server.wait_until_waiting(:never) }
      expect(server.wait_until_closed(1, by: :client)).to eq(:fin)

      server.next("GET", "/s") { |reply| reply.wait(:late, patient: true).signal(:played) }
      server.next("GET", "/t") { |reply| reply.wait(:played).respond(200, "it continued") }
      get_raw("/s") { server.wait_until_waiting(:late) }
      server.release(:late)
      expect(get("/t").body).to eq("it continued")
    end
  end

  describe "the journal" do
    it "has requests with their headers in order, their query and their body" do
      server.on(&:respond)
      body = (0..255).to_a.pack("C*")
      headers = "Host: h\r\nX-B: 1\r\nx-a: 2\r\nx-b: 3\r\nContent-Length: 256\r\n"
      connect("POST /p?b=2&a=%20 HTTP/1.1\r\n#{headers}\r\n".b + body) { server.wait_for_request }
      request = server.requests.first
      expect(request).to have_attributes(verb: "POST", path: "/p", query: "b=2&a=%20",
                                         params: { "b" => "2", "a" => " " }, body: body, connection: 1, number: 1)
      expect(request.headers.map(&:first)).to eq(%w[Host X-B x-a x-b Content-Length])
      expect([request.header("X-b"), request.header("missing")]).to eq(["1, 3", nil])
      expect(request.time).to be_within(60).of(Process.clock_gettime(Process::CLOCK_MONOTONIC))
    end

    it "lets a spec wait for the nth request with a method and a path" do
      server.on(&:respond)
      waiter = Thread.new { server.wait_for_request(2, method: :post, path: "/s").body }
      get("/s")
      post("/s", "1")
      post("/other", "x")
      post("/s", "2")
      expect(waiter.value).to eq("2")
    end

    it "lists the events so far when a wait times out" do
      server.on(&:respond)
      get("/seen")
      expect { server.wait_for_request(2, timeout: 0.01) }.to raise_error(FaultServer::Timeout, %r{number 2 .*/seen}m)
    end

    it "distinguishes a client's reset" do
      server.next(&:hang)
      get_raw("/") do |socket|
        server.wait_for_request
        socket.setsockopt(Socket::Option.linger(true, 0))
      end
      expect(server.wait_until_closed(1)).to eq(:rst)
    end
  end

  describe "its lifetime" do
    it "starts anew at another port after a reset" do
      server.on { |reply| reply.respond(200, "old") }
      idle = get_raw("/")
      server.wait_until_responded(1)
      before = server.port
      server.reset
      expect(server.port).not_to eq(before)
      expect(idle.read).to end_with("old")
      expect([get("/").code, server.requests.size, server.connections]).to eq(["501", 1, 1])
    ensure
      idle&.close
    end

    it "ends when it is stopped, and when the process that started it ends" do
      pid = described_class.start { |other| other.instance_variable_get(:@pid) }
      expect { Process.kill(0, pid) }.to raise_error(Errno::ESRCH)

      library = File.expand_path("../support/fault_server", __dir__)
      script = "$stdout.sync = true; s = FaultServer.start; puts s.instance_variable_get(:@pid); s.reset; exit!"
      pid = Integer(IO.popen([RbConfig.ruby, "-r", library, "-e", script], &:read))
      expect(orphan_ends?(pid)).to be(true)
    end

    it "does not end when a forked child stops it" do
      server.on { |reply| reply.respond(200, "still here") }
      Process.wait(fork { server.stop && exit!(1) })
      expect(get("/").body).to eq("still here")
    end

    def orphan_ends?(pid)
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
      Thread.pass while alive?(pid) && Process.clock_gettime(Process::CLOCK_MONOTONIC) < deadline
      !alive?(pid)
    end

    def alive?(pid)
      Process.kill(0, pid)
      true
    rescue Errno::ESRCH
      false
    end
  end
end
