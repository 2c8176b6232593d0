# frozen_string_literal: true

require "rack"
require "rack/utils" # Ruby 3.1 crashes if Puma interrupts a thread that waits for an autoload.

# Webhooks of a real server, received by a real Puma.
on_server_with_subscriptions DurableStreams::Webhook, :faults do
  include_context "with log lines"

  let(:id) { unique }
  let(:seen) { Queue.new }
  let(:handled) { Queue.new }

  # What the application is at the moment.
  attr_accessor :app

  before { @puma = PumaServer.new(->(env) { app.call(env) }) }
  after { @puma.stop }

  # Receives webhooks by the block, and subscribes.
  def receive(on: client, lease_ttl: 30, **options, &block)
    self.app = Rack::Lint.new(described_class.new(on, **options, &block))
    # This server calls http only at localhost.
    url = @puma.url("/hooks").sub("127.0.0.1", "localhost")
    subscriptions.create(id, type: :webhook, pattern: "#{id}/*", url: url, lease_ttl: lease_ttl)
  end

  # Waits for the state of the subscription in which nothing is pending.
  def wait_until_done(*streams)
    wait_until_acked(id, *streams)
  end

  it "yields an event with the pending streams, and acks them when the block returns" do
    receive { |event| seen << event }
    stream = stream_of(id, body: 1)
    event = take(seen)
    expect(event).to have_attributes(subscription_id: id, generation: 1, wake_id: String)
    expect(event.streams.map(&:to_h)).to eq([{ path: "#{id}/1", link_type: :glob, acked_offset: "-1", pending: true,
                                               tail_offset: stream.head.next_offset }])
    wait_until_done(stream)
    expect(log_lines).to eq([])
    expect(event.inspect).to match(/\A#<DurableStreams::Webhook::Event "#{id}" wake_id="w_\h+" generation=1>\z/)
  end

  it "reads and acks what is pending by each_batch" do
    receive { |event| event.each_batch { |stream, batch| handled << [stream.path, batch.items] } }
    streams = %w[1 2].map { |name| stream_of(id, name) }
    2.times { |n| streams.each { |stream| stream << n } }
    wait_until_done(*streams)
    batches = Array.new(handled.size) { handled.pop }
    items = batches.group_by(&:first).transform_values { |of_stream| of_stream.flat_map(&:last) }
    expect(items).to eq(streams.to_h { |stream| [stream.path, [0, 1]] })
    streams.last << 2
    expect(take(handled)).to eq(["#{id}/2", [2]])
  end

  it "acks no more than each_batch has reached if the block breaks out" do
    receive do |event|
      event.each_batch do |stream, batch|
        handled << stream.path
        break if handled.size == 1

        seen << batch.items
      end
    end
    client.create("#{id}/1", content_type: :json, body: 1)
    stream = client.stream("#{id}/1")
    expect(take(seen)).to eq([1])
    wait_until_done(stream)
    expect(handled.size).to be >= 2
  end

  it "acks what the block acks, and the rest comes again" do
    offsets = Queue.new
    receive do |event|
      seen << event.streams.map(&:acked_offset)
      offset = offsets.pop
      event.ack("#{id}/1", offset) if offset
    end
    stream = stream_of(id)
    first = stream.append(1).next_offset
    expect(take(seen)).to eq(["-1"])
    last = stream.append(2).next_offset
    offsets << first
    expect(take(seen)).to eq([first])
    offsets << last
    wait_until_done(stream)
    expect(seen).to be_empty
  end

  {
    "with a slash before it" => ->(path) { "/#{path}" }, "as a URL" => ->(path) { client.stream(path).url },
    "decoded" => ->(path) { path.sub("%20", " ") }, "as a Stream" => ->(path) { client.stream(path) }
  }.each do |notation, notate|
    it "leaves what comes after an ack to the next webhook, with the path #{notation}" do
      ready = Queue.new
      tries = 0
      receive do |event|
        offset = ready.pop # Both messages are there. The server says so in the webhook that follows.
        raise IOError, "on purpose" if (tries += 1) == 1

        seen << event.streams.map(&:acked_offset)
        event.ack(instance_exec("#{id}/a%20b", &notate), offset)
      end
      stream = stream_of(id, "a b")
      first = stream.append(1).next_offset
      [first, first, stream.append(2).next_offset].each { |offset| ready << offset }
      expect([take(seen), take(seen)]).to eq([["-1"], [first]])
      wait_until_done(stream)
    end
  end

  it "raises ArgumentError for an ack of something else than a path or an offset" do
    errors = Queue.new
    receive do |event|
      [[:a, "1"], ["#{id}/1", nil]].each do |arguments|
        event.ack(*arguments)
      rescue ArgumentError => e
        errors << e.message
      end
    end
    stream_of(id, body: 1)
    expect([take(errors), take(errors)])
      .to eq(["stream must be a path or a Stream, got Symbol", "offset must be a String, got nil"])
  end

  it "can be done before the block returns" do
    release = Queue.new
    receive do |event|
      2.times { event.done }
      seen << event.generation
      release.pop
    end
    stream = stream_of(id, body: 1)
    take(seen)
    wait_until_done(stream)
    stream << 2
    expect(take(seen)).to eq(2)
    2.times { release << nil }
  end

  it "is sent again after a block that raises, for which the response is a 500" do
    tries = 0
    receive do |event|
      raise IOError, "on purpose" if (tries += 1) == 1

      event.each_batch { |_, batch| handled << batch.items }
    end
    stream = stream_of(id, body: 1)
    expect(take(handled)).to eq([1])
    wait_until_done(stream)
    expect(log_lines).to match([/\AERROR .*a webhook failed: IOError: on purpose \(.*webhook_spec/])
  end

  it "is sent again after a block that raises a FencedError of another claim" do
    other = subscribe
    stream_of(other, body: 1)
    claim = subscriptions.claim(other, worker: "w").tap(&:release)
    tries = 0
    receive do |event|
      claim.release if (tries += 1) == 1
      event.each_batch { |_, batch| handled << batch.items }
    end
    stream = stream_of(id, body: 1)
    expect(take(handled)).to eq([1])
    wait_until_done(stream)
    expect(log_lines).to match([/a webhook failed: DurableStreams::FencedError/])
  end

  it "keeps its lease while a block is slow" do
    receive(lease_ttl: 1) do |event|
      seen << event.generation
      sleep 2.5 # what the example is about
    end
    stream = stream_of(id, body: 1)
    wait_until_done(stream)
    expect([take(seen), seen.empty?]).to eq([1, true])
  end

  it "tells a block whose claim has ended, and does not ack for it" do
    release = Queue.new
    receive(on: client_of(faults.url), lease_ttl: 1) do |event|
      seen << event.generation
      release.pop if event.generation == 1
      event.each_batch { |_, batch| handled << [event.generation, batch.items] }
    rescue DurableStreams::FencedError => e
      seen << e.class
      raise
    end
    faults.proxy(server_url)
    stream = stream_of(id, body: 1)
    expect(take(seen)).to eq(1)
    faults.on("POST", %r{/callback\z}, &:rst)
    wait_until("a failed prolongation, and the next wake") do
      log_lines.grep(/cannot prolong/).any? && log_lines.grep(/a webhook failed/).any?
    end
    faults.proxy(server_url)
    release << nil
    wait_until_done(stream)
    nil until take(seen) == DurableStreams::FencedError
    wait_until("a line") { log_lines.grep(/WARN .*came to its end too late: call back to subscription/).any? }
  end

  it "counts as done if only the response to its end was lost" do
    receive(on: client_of(faults.url)) { |event| seen << event.generation }
    faults.proxy(server_url)
    faults.next("POST", %r{/callback\z}) { |reply| reply.forward(server_url).send_response }
    faults.next("POST", %r{/callback\z}) { |reply| reply.forward(server_url).rst }
    stream = stream_of(id, body: 1)
    wait_until_done(stream)
    stream << 2
    expect(Array.new(2) { take(seen) }).to eq([1, 2])
    wait_until_done(stream)
    expect(log_lines).to eq([])
  end

  it "does not run the block for a repetition after the end" do
    requests = Queue.new
    receive { |event| seen << event.generation }
    webhook = app
    self.app = lambda do |env|
      body = env["rack.input"].read
      requests << env.merge("rack.input" => StringIO.new(body))
      webhook.call(env.merge("rack.input" => StringIO.new(body)))
    end
    stream = stream_of(id, body: 1)
    wait_until_done(stream)
    take(seen)
    expect(webhook.call(take(requests)).first).to eq(200)
    expect(seen).to be_empty
    expect(log_lines).to match([/came to its end too late/])
  end

  it "accepts the new keys of a server that was started again" do
    server = start_server
    on = client_of(server.url)
    receiver = described_class.new(on) { |event| event.each_batch { |_, batch| handled << batch.items } }
    # Its keys are old enough to be fetched again.
    stub_const("DurableStreams::Webhook::Keys::PAUSE", 0)
    self.app = receiver
    url = @puma.url("/hooks").sub("127.0.0.1", "localhost")
    2.times do |n|
      on.subscriptions.create(id, type: :webhook, pattern: "#{id}/*", url: url)
      on.create("#{id}/1", content_type: :json) << n
      expect(take(handled)).to eq([n])
      server.kill
      server.restart
    end
  end
end
