# frozen_string_literal: true

# The events of workers and webhooks for DurableStreams.subscribe.
on_server_with_subscriptions DurableStreams::Worker, "events", :faults do
  include_context "with log lines"

  let(:id) { subscribe(lease_ttl: 1) }
  let(:stream) { stream_of(id, body: 1) }
  let(:events) { record_events(/\A(claimed|message|fenced)\.durable_streams\z/) }

  def payload(offset = nil, path = offset && "#{id}/1", generation: 1)
    { subscription: id, stream: path, offset: offset, generation: generation }
  end

  it "report a claim, and each batch with the duration of its block" do
    events
    thread = nil
    tail = stream.head.next_offset
    work(id) do
      sleep 0.01 # for the duration
      thread = Thread.current
    end
    claimed, message = events.wait_for(2)
    expect([claimed.name, claimed.payload, claimed.error]).to eq(["claimed.durable_streams", payload, nil])
    expect([message.name, message.payload, message.error]).to eq(["message.durable_streams", payload(tail), nil])
    expect(message.duration).to be_between(0.01, AtOnce::SECONDS)
    expect(events.threads.last).to eq(thread)
  end

  it "tell what a block raised" do
    events
    stream
    work(id) { raise IOError, "on purpose" }
    event = events.wait_for(1) { |seen| seen.name == "message.durable_streams" }.first
    expect(event.error).to be_a(IOError)
  end

  it "report a claim that was lost" do
    events
    stream
    faults.proxy(server_url)
    release = Queue.new
    work(id, on: client_of(faults.url)) { release.pop }
    events.wait_for(1)
    faults.next("POST", %r{/ack\z}) { |reply| reply.respond(409, '{"error":{"code":"FENCED"}}') }
    event = events.wait_for(1) { |seen| seen.name == "fenced.durable_streams" }.first
    expect([event.payload, event.error]).to match([payload, an_instance_of(DurableStreams::FencedError)])
    2.times { release << nil }
  end

  it "of a webhook are the same" do
    hook = unique
    webhook = DurableStreams::Webhook.new(client) { |event| event.each_batch { nil } }
    puma = PumaServer.new(webhook)
    url = puma.url.sub("127.0.0.1", "localhost")
    subscriptions.create(hook, type: :webhook, pattern: "#{hook}/*", url: url)
    events
    stream_of(hook, body: 1)
    claimed, message = events.wait_for(2)
    expect([claimed.name, message.name]).to eq(["claimed.durable_streams", "message.durable_streams"])
    expect(message.payload).to match(subscription: hook, stream: "#{hook}/1", offset: String, generation: 1)
  ensure
    puma&.stop
  end
end
