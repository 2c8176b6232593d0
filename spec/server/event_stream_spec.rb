# frozen_string_literal: true

require_relative "../support/nginx"

# A stream passed on to browsers: real servers, a real Puma, and sockets in place of browsers.
on_each_server DurableStreams::EventStream do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  # The comments let Puma's threads notice, and end, when the examples' browsers have left.
  let(:app) { described_class.app(heartbeat: 0.2) { |env| client.stream(env["PATH_INFO"]) } }
  let(:web) { PumaServer.new(app) }
  let(:path) { unique_path }
  let(:browsers) { [] }

  after do
    browsers.each { |browser| browser.leave(:rst) }
    web.stop
    client.close
  end

  def browse(query = "", **options)
    EventSource.new(web.url(path + query), **options).tap { |browser| browsers << browser }
  end

  def json(*items)
    client.create(path, content_type: :json).tap { |stream| items.each { |item| stream.append(item) } }
  end

  def text(*chunks)
    client.create(path, content_type: "text/plain").tap { |stream| chunks.each { |chunk| stream.append(chunk) } }
  end

  def data(browser, count)
    Array.new(count) { browser.next.data }
  end

  it "sends each item of a JSON stream as an event, and new ones as they come" do
    stream = json({ "a" => 1 }, [2, "\u2028\n"], nil)
    browser = browse
    expect(data(browser, 3)).to eq(['{"a":1}', "[2,\"\u2028\\n\"]", "null"])
    3.times do |number|
      stream.append(number)
      expect(browser.next.to_h).to include(type: "message", data: number.to_s)
    end
  end

  it "gives the last event of a batch the offset as its id" do
    stream = json(1, 2)
    offset = stream.append(3).next_offset
    browser = browse
    expect(Array.new(3) { browser.next.id }).to eq(["-1/1", "-1/2", offset])
    appended = stream.append(4).next_offset
    expect(browser.next.id).to eq(appended)
  end

  it "continues after each event, in the middle of a batch too" do
    stream = json(*0...5)
    browser = browse
    ids = Array.new(5) { browser.next.id }
    stream.append(5)
    stream.close_stream
    ids.each_with_index do |id, index|
      expect(browse(last_event_id: id).to_a.map(&:data).first(5 - index)).to eq((index + 1..5).map(&:to_s))
      expect(browse("?offset=#{URI.encode_www_form_component(id)}").next.data).to eq((index + 1).to_s)
    end
  end

  it "continues after the Last-Event-ID rather than at the offset of the URL" do
    stream = json(1)
    offset = stream.append(2).next_offset
    expect(browse("?offset=-1", last_event_id: offset).tap { stream.append(3) }.next.data).to eq("3")
  end

  it "tells a browser that begins at the end where that is, so that it misses nothing after it" do
    stream = json(1)
    offset = stream.append(2).next_offset
    browser = browse("?offset=now")
    expect(browser.next_block).to eq("id: #{offset}\n\n")
    browser.leave
    stream.append(3)
    expect(browse("?offset=now", last_event_id: offset).next.data).to eq("3")
  end

  it "ends with the event end when the stream is closed" do
    stream = json(1)
    browser = browse
    browser.next
    final = stream.close_stream(data: 2).final_offset
    expect(browser.to_a.map(&:to_h)).to eq([{ type: "message", data: "2", id: final },
                                            { type: "end", data: final, id: "#{final}/end" }])
  end

  it "sends the event end to a browser that has all but that, and 204 to one that has it" do
    stream = json(1)
    final = stream.close_stream.final_offset
    expect(browse(last_event_id: final).to_a.map(&:type)).to eq(["end"])
    expect(browse(last_event_id: "#{final}/end").status).to eq(204)
    expect(browse("?offset=#{final}/end").status).to eq(204)
  end

  it "yields nothing if it is closed before it begins" do
    stream = json(1)
    stream.close_stream
    closed = Array.new(2) { described_class.new(stream).tap(&:close) }
    expect([closed[0].each.to_a, closed[1].open.each.to_a]).to eq([[], []])
  end

  it "sends text exactly, except for CRs" do
    stream = text(" one\n  two\n\n", "\n", "three\0 ")
    browser = browse
    written = " one\n  two\n\n\nthree\0 "
    received = +""
    received << browser.next.data until received.bytesize >= written.bytesize
    expect(received).to eq(written)
    stream.append(" a\r\n b\rc")
    expect(browser.next.data).to eq(" a\n b\nc")
  end

  it "sends whole characters, however their bytes and those of CR LF arrive" do
    stream = text
    browser = browse
    browser.next_block
    written = "aé€😀\r\n\rz"
    Thread.new { written.each_byte { |byte| stream.append(byte.chr) } && stream.close_stream }
    events = browser.to_a
    expect(events.map(&:data)).to all(be_valid_encoding)
    expect(events[0...-1].sum("", &:data)).to eq("aé€😀\n\nz")
    events.each_cons(2).with_index do |(event, following), index|
      rest = browse(last_event_id: event.id).to_a
      expect(rest[0...-1].sum("", &:data)).to eq(events[index + 1...-1].sum("", &:data)), following.inspect
    end
  end

  it "sends the rest of a character at the end of the stream" do
    text("a\xE2\x82".b).close_stream
    expect(browse.to_a.sum("".b) { |event| event.type == "end" ? "" : event.data.b }).to eq("a\xE2\x82".b)
  end

  it "says what is wrong by the status" do
    stream = json(1)
    expect(EventSource.new(web.url(unique_path)).tap { |browser| browsers << browser }.status).to eq(404)
    expect(["?offset=a/b", "?offset=a%0Adata:b", "?offset=%ff", "?offset=%"].map { |query| browse(query).status })
      .to eq([400] * 4)
    expect(browse(last_event_id: "\xFF").status).to eq(400)
    expect(browse(last_event_id: "not an offset").status).to eq(400)
    %w[HEAD POST OPTIONS DELETE].each do |method|
      browser = browse(method: method)
      expect([browser.status, browser.headers["allow"]]).to eq([405, "GET"])
    end
    stream.delete
    expect(browse.status).to eq(404)
  end

  it "responds with headers that keep caches and proxies from storing and delaying events" do
    json(1)
    expect(browse.tap(&:next).headers).to include(
      "content-type" => "text/event-stream", "cache-control" => "no-store", "x-accel-buffering" => "no"
    )
  end

  it "sends events at once through nginx, which buffers other responses" do
    stream = json(1)
    nginx = Nginx.new(web.url)
    browser = EventSource.new(nginx.url + path).tap { |one| browsers << one }
    expect(browser.next.data).to eq("1")
    stream.append(2)
    expect(browser.next.data).to eq("2")
  ensure
    nginx&.stop
  end
end
