# frozen_string_literal: true

# The JavaScript of docs/browsers.md in Chromium, whose connections break. Requests go through the fault server to Puma,
# and from there to a real Durable Streams server.
RSpec.describe "A page with an EventSource", :faults do
  after do
    web.stop
    client.close
  end

  # Its hook runs before the one above, while the servers are there.
  include_context "with a browser"

  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path, content_type: :json) }
  let(:web) { PumaServer.new(application(stream, html)) }

  # Of the guide, each in a page of its own.
  let(:blocks) { File.read(File.join(Guide::ROOT, "docs/browsers.md")).scan(/^```javascript\n(.*?)^```$/m).flatten }
  let(:script) { blocks.find { |block| block.include?('new EventSource("/orders/events")') } }

  # What a page does with an item, and how the example sees it.
  let(:html) do
    <<~HTML
      <!doctype html><title>Test</title><link rel="icon" href="data:,"><p id="items">-</p>
      <script>
        const items = []
        const show = (item) => { items.push(item); document.getElementById("items").textContent = items.join(" ") }
        #{script}
      </script>
    HTML
  end

  # An event stream that begins with a short time until the browser reconnects: by default it is seconds.
  def application(stream, html)
    events = DurableStreams::EventStream.app(heartbeat: 0.2) { stream }
    lambda do |env|
      next [200, { "content-type" => "text/html" }, [html]] unless env["PATH_INFO"].end_with?("/events")

      status, headers, body = events.call(env)
      [status, headers, status == 200 ? ["retry: 20\n\n"].chain(body.each) : body]
    end
  end

  def visit
    faults.on { |reply| reply.pass(web.url) }
    page.visit faults.url("/")
  end

  def fill(range)
    DurableStreams::Producer.open(stream: stream, producer_id: range.to_s) do |producer|
      range.each { |item| producer << item }
    end
  end

  def expect_items(range)
    page.find("#items", text: /(\A| )#{range.max}\z/)
    expect(page.find("#items").text.split.map(&:to_i)).to eq(range.to_a)
  end

  # The ids with which the page has connected again.
  def last_event_ids
    faults.requests(path: "/orders/events").map { |request| request.header("last-event-id") }
  end

  it "shows each item once and in order, wherever its connections break" do
    fill(0...200)
    random = Random.new(RSpec.configuration.seed)
    10.times do
      bytes = random.rand(400..1_000)
      faults.next(:get, "/orders/events") { |reply| reply.cut(after: bytes, with: :rst).pass(web.url) }
    end
    visit
    expect_items(0...200)
    fill(200...300)
    stream.close_stream
    expect_items(0...300)
    expect(last_event_ids.size).to be > 10
    expect(last_event_ids).to include(%r{\A-1/\d+\z})
    console
  end

  it "closes at the event end" do
    fill(0...3)
    stream.close_stream
    visit
    expect_items(0...3)
    page.document.synchronize { page.evaluate_script("source.readyState") == 2 or raise Capybara::ElementNotFound }
    expect(last_event_ids).to eq([nil])
  end

  context "when the page ignores the event end" do
    let(:script) { blocks.fetch(0).lines.first(2).join }

    it "is stopped by a 204" do
      fill(0...3)
      stream.close_stream
      visit
      page.document.synchronize { page.evaluate_script("source.readyState") == 2 or raise Capybara::ElementNotFound }
      expect(last_event_ids).to match([nil, %r{/end\z}])
      expect_items(0...3)
    end
  end

  context "when the page begins at the end of the stream" do
    let(:script) { super().sub("/orders/events", "/orders/events?offset=now") }

    it "misses nothing after that, if the connection breaks before the first event" do
      fill(0...3)
      # The comments come until there.
      faults.next(:get, "/orders/events") { |reply| reply.cut(after: 340, with: :rst).pass(web.url) }
      faults.next(:get, "/orders/events") { |reply| reply.wait("go").pass(web.url) }
      visit
      faults.wait_for_request(2, path: "/orders/events")
      fill(3...6)
      faults.open("go")
      expect_items(3...6)
      expect(last_event_ids).to match([nil, /\A\d+_\d+\z/])
      console
    end
  end

  context "when the page is reloaded" do
    let(:script) { blocks.find { |block| block.include?("sessionStorage") } }

    def expect_total(total)
      page.document.synchronize { page.evaluate_script("saved.total") == total or raise Capybara::ElementNotFound }
    end

    it "continues at the id that the page has saved" do
      5.times { stream.append({ "total" => 2 }) }
      visit
      expect_total(10)
      page.refresh
      stream.append({ "total" => 3 })
      expect_total(13)
      expect(faults.requests(path: "/orders/events").map { |request| request.params["offset"] })
        .to match(["-1", /\A\d+_\d+\z/])
    end
  end

  context "when the server is down" do
    let(:script) { blocks.find { |block| block.include?("function follow") } }

    it "tries again from the last id after a 503" do
      fill(0...50)
      faults.next(:get, "/orders/events") { |reply| reply.cut(after: 500, with: :rst).pass(web.url) }
      faults.next(:get, "/orders/events") { |reply| reply.respond(503) }
      visit
      expect_items(0...50)
      expect(console).to include(/503/)
    end
  end
end
