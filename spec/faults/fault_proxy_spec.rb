# frozen_string_literal: true

RSpec.describe FaultServer, "as a proxy" do
  include_context "with raw requests"

  let(:real) { described_class.start }

  after { real.stop }

  before do
    real.on { |reply| reply.respond(200, "real", "X-Real" => "1") }
  end

  it "passes requests and responses on unchanged" do
    server.proxy(real.url)
    response = post("/s?x=1", "data", "X-Mine" => "2")
    expect([response.body, response["x-real"]]).to eq(%w[real 1])
    expect(real.requests.first).to have_attributes(verb: "POST", target: "/s?x=1", body: "data")
    expect(real.requests.first.header("x-mine")).to eq("2")
    expect(Net::HTTP.start("127.0.0.1", server.port) { |http| http.head("/")["x-real"] }).to eq("1")
  end

  it "can lose the response to a request that the real server has processed" do
    server.next("POST") { |reply| reply.forward(real.url).rst }
    expect { post("/s", "data") }.to raise_error(Errno::ECONNRESET)
    expect(real.requests.map(&:body)).to eq(["data"])
  end

  it "can send a request twice" do
    real.next { |reply| reply.respond(200, "first") }
    server.next("POST") { |reply| reply.forward(real.url).forward(real.url).send_response(0) }
    expect(post("/s", "data").body).to eq("first")
    expect(real.requests.map(&:body)).to eq(%w[data data])
  end

  it "can let a request overtake another" do
    server.next("POST") { |reply| reply.wait(:overtaken).forward(real.url).send_response }
    server.next("POST") { |reply| reply.forward(real.url).send_response.signal(:overtaken) }
    slow = Thread.new { post("/s", "1").body }
    server.wait_until_waiting(:overtaken)
    expect([post("/s", "2").body, slow.value, real.requests.map(&:body)]).to eq(["real", "real", %w[2 1]])
  end

  it "can pass on a request whose client has given up" do
    server.next("POST") { |reply| reply.wait(:late, patient: true).forward(real.url).send_response }
    connect("POST /s HTTP/1.1\r\nContent-Length: 4\r\n\r\ndata") { server.wait_until_waiting(:late) }
    server.release(:late)
    expect(real.wait_for_request.body).to eq("data")
  end

  it "passes a long response on as it arrives, and a close by the client too" do
    real.on("GET", "/s") { |reply| reply.sse.data("1").wait(:more).data("2").finish }
    server.proxy(real.url)
    get_raw("/s?live=sse") do |socket|
      socket.gets("data: 1\n\n")
      real.release(:more)
      expect(socket.read).to end_with("data: 2\n\n\r\n0\r\n\r\n")
    end
    get_raw("/s?live=sse") { |socket| socket.gets("data: 1\n\n") }
    expect(real.wait_until_closed(2, by: :client)).to be_a(Symbol)
  end

  it "can cut a long response" do
    real.on("GET", "/s") { |reply| reply.sse.data("1").finish }
    server.next("GET", "/s") { |reply| reply.cut(after: 50).pass(real.url) }
    get_raw("/s") { |socket| expect(socket.read.bytesize).to eq(50) }
  end

  it "resets the connection if the real server cannot be reached" do
    real.refuse_connections
    server.proxy(real.url)
    get_raw("/") { |socket| expect { socket.read }.to raise_error(Errno::ECONNRESET) }
    expect(server.events(type: :upstream_failed).size).to eq(1)
  end
end
