# frozen_string_literal: true

require "net/http"

# A Rails application under Puma. Its page views are appended by a producer that sends nothing by itself; its orders by
# their models, its payments by jobs. See docs/rails.md.
RSpec.describe "Rails under Puma", if: RailsApp.runs? do
  include_context "with a Rails application"

  # Starts Puma, yields it with its URL, and stops it by TERM.
  def serve(*options, workers: 0)
    puma = app.start(Gem.bin_path("puma", "puma"), "-b", "tcp://127.0.0.1:0", "-w", workers.to_s, *options)
    url = puma.wait_for(%r{Listening on (http://127\.0\.0\.1:[1-9]\d*)})[1]
    workers.zero? ? puma.wait_for(/Use Ctrl-C to stop/) : booted(puma, workers)
    yield puma, url
    puma.signal("TERM")
    ended = puma.ended
    expect(ended.took).to be < AtOnce::SECONDS
    expect(ended.output).not_to match(/BUG|panicked|SEGV|did not reach/i)
  end

  def booted(puma, workers, phase: 0, after: "")
    workers.times { |i| puma.wait_for(/#{after}.*Worker #{i} \(PID: \d+\) booted[^\n]* phase: #{phase}/m) }
  end

  # Makes a request, and returns which process has served it.
  def post(url, path, **params)
    response = Net::HTTP.post_form(URI(url + path), params)
    raise "#{response.code}: #{response.body}" unless response.is_a?(Net::HTTPCreated)

    JSON.parse(response.body).fetch("process")
  end

  # Tracks page views until each of so many workers has served some.
  # @return [Array<String>] the tracked paths
  def track_by(workers, url, name)
    tracked = []
    processes = []
    until processes.uniq.size == workers
      paths = Array.new(4) { |i| "/#{name}/#{tracked.size + i}" }
      processes.concat(paths.map { |path| Thread.new { post(url, "/page_views", path: path) } }.map(&:value))
      tracked.concat(paths)
    end
    tracked
  end

  # Reads an endless response until it includes some text, and closes the connection.
  # @return [String] what came
  def read_until(text, uri)
    received = +""
    catch(:found) do
      Net::HTTP.get_response(uri) do |response|
        response.read_body { |part| throw(:found) if (received << part).include?(text) }
      end
    end
    received
  end

  # On Ruby 3.3.8, the workers of Puma 6.6 hang after TERM in a quarter of the runs, with any application: IO#close does
  # not return. After 30 seconds Puma kills them.
  workers_stop = !RUBY_VERSION.start_with?("3.3.")
  RSpec.configuration.reporter.message("SKIPPED: Puma's cluster mode, on Ruby 3.3") unless workers_stop

  it "sends what producers have, from each worker of a preloaded cluster, after TERM", if: workers_stop do
    tracked = nil
    serve("--preload", workers: 2) do |_, url|
      tracked = track_by(2, url, "a")
      2.times { post(url, "/orders", total: "9.50") }
      expect(stored("/orders")).to match(
        Array.new(2) { |i| a_hash_including("type" => "order.created", "id" => i + 1, "total" => "9.5") }
      )
      expect(stored_page_views).to eq([])
    end
    expect(stored_page_views).to match_array(tracked)
  end

  it "passes a stream on to a browser" do
    # Notices soon that the browser left. Puma waits for that.
    app.edit("config/routes.rb", "EventStream.app {", "EventStream.app(heartbeat: 0.1) {")
    serve do |_, url|
      post(url, "/orders", total: 1)
      received = read_until("order.created", URI("#{url}/orders/events"))
      expect(received).to match(/^data: \{"type":"order.created"/)
    end
  end

  it "runs jobs in its own threads" do
    serve do |_, url|
      post(url, "/payments", order_id: 7)
      expect(streams.stream("/orders").read_json(live: :long_poll).first).to eq("type" => "order.paid", "id" => 7)
    end
  end

  it "sends what producers have before a worker is replaced, in a phased restart", if: workers_stop do
    tracked = nil
    serve(workers: 1) do |puma, url|
      tracked = track_by(1, url, "a")
      puma.signal("USR1")
      booted(puma, 1, phase: 1)
      expect(stored_page_views).to match_array(tracked)
      tracked += track_by(1, url, "b")
    end
    expect(stored_page_views).to match_array(tracked)
  end

  # In single mode the program is replaced by `exec`: the hook in config/puma.rb sends the messages.
  { "single" => 0, "cluster" => 1 }.each do |mode, workers|
    it "sends what producers have before it restarts in #{mode} mode", if: workers.zero? || workers_stop do
      serve("--preload", workers: workers) do |puma, url|
        tracked = track_by(1, url, "a")
        puma.signal("USR2")
        puma.wait_for(/Restarting.*Use Ctrl-C to stop/m)
        booted(puma, workers, after: "Restarting")
        expect(stored_page_views).to match_array(tracked)
      end
    end
  end
end
