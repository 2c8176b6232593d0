# frozen_string_literal: true

require "zlib"

# Responses that a server or a cache has compressed.
RSpec.describe "Compressed responses", :faults do
  let(:items) { (1..2000).to_a }
  let(:body) { items.to_json }
  let(:headers) { read_headers("9", "content-encoding" => "gzip") }

  def gzip(text)
    Zlib.gzip(text)
  end

  it "are requested and read" do
    faults.on { |reply| reply.respond(200, gzip(body), **headers) }
    expect(fault_stream.read_json.to_a).to eq(items)
    expect(fault_stream.read_bytes.body).to eq(body)
    expect(faults.requests.map { |request| request.header("accept-encoding") }).to eq(%w[gzip gzip])
  end

  it "are not requested if the application sets Accept-Encoding to identity" do
    faults.on { |reply| reply.respond(200, body, **read_headers("9")) }
    stream = fault_client(headers: { "Accept-Encoding" => "identity" }).stream("/s", content_type: :json)
    expect(stream.read_json.to_a).to eq(items)
    expect(faults.requests.map { |request| request.header("accept-encoding") }).to eq(["identity"])
  end

  it "are not requested for event streams, because a proxy that compresses may delay events" do
    faults.on { |reply| reply.sse.data("[1]").control("1", closed: true).finish }
    expect(fault_stream.read_json(live: :sse).to_a).to eq([1])
    expect(faults.requests.map { |request| request.header("accept-encoding") }).to eq(["identity"])
  end

  it "are read when they arrive byte by byte" do
    faults.on { |reply| reply.head(200, **headers).chunk(gzip(body), size: 1).finish }
    expect(fault_stream.read_json.to_a).to eq(items)
  end

  it "may have several gzip members" do
    faults.on { |reply| reply.respond(200, gzip(body[0...700]) + gzip("") + gzip(body[700..]), **headers) }
    expect(fault_stream.read_json.to_a).to eq(items)
    expect(fault_stream.read_bytes.body).to eq(body)
  end

  it "are requested again if the second gzip member is truncated or invalid" do
    whole = gzip(body[0...700]) + gzip(body[700..])
    faults.next { |reply| reply.respond(200, whole[0..-9], **headers) }
    faults.next { |reply| reply.respond(200, "#{gzip(body[0...700])}rest", **headers) }
    faults.on { |reply| reply.respond(200, whole, **headers) }
    expect(fault_stream.read_json.each.to_a).to eq(items)
    expect(faults.requests.size).to eq(3)
  end

  it "are handed out in parts if they expand enormously" do
    zeros = "\0" * (64 << 20)
    faults.on { |reply| reply.respond(200, gzip(zeros), **headers, "content-type" => "application/octet-stream") }
    sizes = []
    copied = fault_stream(type: :bytes).read_bytes.copy_to(Class.new do
      define_method(:write) { |part| sizes << part.bytesize }
    end.new)
    expect(copied).to eq(zeros.size)
    expect(sizes.max).to be <= 16 << 20
  end

  it "do not count as truncated if they have no body" do
    faults.on("HEAD") { |reply| reply.respond(200, "", **headers) }
    faults.on("GET") { |reply| reply.respond(200, "", **headers) }
    expect(fault_stream.head.next_offset).to eq("9")
    expect(fault_stream.read_bytes.body).to eq("")
  end

  it "are requested again if they are truncated, even if their Content-Length matches" do
    cut = gzip(body)[0..-200]
    faults.next { |reply| reply.respond(200, cut, **headers) }
    faults.next { |reply| reply.head(200, **headers).chunk(cut).finish }
    faults.on { |reply| reply.respond(200, gzip(body), **headers) }
    expect(fault_stream.read_json.each.to_a).to eq(items)
    expect(faults.requests.size).to eq(3)
  end

  it "raise ParseError if their compression is another one, also in readers of bytes" do
    faults.on { |reply| reply.respond(200, "\x0b\x00\x80", **headers, "content-encoding" => "br") }
    expect { fault_stream.read_bytes.body }.to raise_error(DurableStreams::ParseError, /Content-Encoding "br"/)
    expect(faults.requests.size).to eq(1)
  end

  %w[identity none].each do |coding|
    it "may have the Content-Encoding #{coding}" do
      faults.on { |reply| reply.respond(200, body, **headers, "content-encoding" => coding) }
      expect(fault_stream.read_json.to_a).to eq(items)
    end
  end

  it "raise ConnectionError after the retries if they are not gzip" do
    faults.on { |reply| reply.respond(200, body, **headers) }
    expect { fault_stream.read_json.to_a }.to raise_error(DurableStreams::ConnectionError, /broke off/)
  end

  it "may be event streams" do
    deflate = Zlib::Deflate.new(Zlib::DEFAULT_COMPRESSION, Zlib::MAX_WBITS + 16)
    events = ["event: data\ndata: [1]\n\nevent: control\ndata: {\"streamNextOffset\":\"1\"}\n\n",
              "event: data\ndata: [2]\n\nevent: control\ndata: {\"streamNextOffset\":\"2\",\"streamClosed\":true}\n\n"]
    pieces = events.map { |event| deflate.deflate(event, Zlib::SYNC_FLUSH) }
    faults.on do |reply|
      reply.head(200, "content-type" => "text/event-stream", "content-encoding" => "gzip")
      reply.chunk(pieces[0]).wait(:read).chunk(pieces[1]).hang
    end
    seen = []
    fault_stream.read_json(live: :sse).each do |item|
      seen << item
      faults.open(:read)
    end
    expect(seen).to eq([1, 2])
  end
end
