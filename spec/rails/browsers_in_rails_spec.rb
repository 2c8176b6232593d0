# frozen_string_literal: true

require "net/http"

# The Rails part of docs/browsers.md, in an application.
RSpec.describe "docs/browsers.md in a Rails application", if: RailsApp.runs? do
  include_context "with a Rails application"

  # Starts Puma with those files, and yields its URL.
  def serve(*names, environment: {})
    Guide.new("docs/browsers.md").files.slice(*names).each { |name, text| app.write(name, text) }
    puma = app.start(Gem.bin_path("puma", "puma"), "-b", "tcp://127.0.0.1:0", "-t", "10:20", environment: environment)
    yield puma.wait_for(%r{Listening on (http://127\.0\.0\.1:[1-9]\d*)})[1]
  ensure
    browsers.each(&:leave)
  end

  let(:browsers) { [] }

  def browse(url, **options)
    EventSource.new(url, **options).tap { |browser| browsers << browser }
  end

  def post_order(url)
    Timeout.timeout(AtOnce::SECONDS) { Net::HTTP.post_form(URI("#{url}/orders"), total: 1).code }
  end

  it "routes many pages to streams, without a database connection for each" do
    streams.create("/orders/1", content_type: :json).append({ "paid" => true })
    serve("config/routes.rb", "app/controllers/feeds_controller.rb") do |url|
      expect(post_order(url)).to eq("201")
      pages = Array.new(8) { browse("#{url}/orders/1/events") }
      expect(pages.map { |page| page.next.data }.uniq).to eq(['{"paid":true}'])
      expect(post_order(url)).to eq("201")
      expect(browse("#{url}/orders/99/events").status).to eq(404)
    end
  end

  it "has events as the body of a controller's response" do
    serve("config/routes.rb", "app/controllers/feeds_controller.rb") do |url|
      expect(post_order(url)).to eq("201")
      feed = browse("#{url}/feed")
      expect([feed.status, feed.headers["content-type"]]).to match([200, start_with("text/event-stream")])
      expect(JSON.parse(feed.next.data)).to include("type" => "order.created", "id" => 1)
      expect(post_order(url)).to eq("201")
      expect(JSON.parse(feed.next.data)).to include("id" => 2)
      expect(JSON.parse(browse("#{url}/feed", last_event_id: feed.id).tap { post_order(url) }.next.data))
        .to include("id" => 3)
      streams.stream("/orders").delete
      expect(browse("#{url}/feed").status).to eq(404)
    end
  end

  it "reloads code in development while a page is open outside of Rails' middleware" do
    streams.create("/orders/1", content_type: :json).append({ "paid" => true })
    # Rails compares modification times, which may be of seconds.
    File.utime(Time.now - 60, Time.now - 60, File.join(app.folder, "app/models/order.rb"))
    serve("config.ru", environment: { "RELOAD" => "1", "RAILS_ENV" => "development" }) do |url|
      expect(post_order(url)).to eq("201")
      page = browse("#{url}/live/orders/1")
      expect(page.next.data).to eq('{"paid":true}')
      app.edit("app/models/order.rb", "order.created", "order.changed")
      expect(post_order(url)).to eq("201")
      expect(stored("/orders").map { |event| event["type"] }).to eq(%w[order.created order.changed])
      expect(browse("#{url}/live/orders/9").status).to eq(404)
    end
  end
end
