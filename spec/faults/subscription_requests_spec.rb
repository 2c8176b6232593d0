# frozen_string_literal: true

# Requests about subscriptions whose responses are lost, or are no responses of the subscription APIs.
RSpec.describe DurableStreams::Subscriptions, :faults do
  let(:subscriptions) { fault_client(headers: { "Authorization" => "Bearer user" }).subscriptions }
  let(:claim) { subscriptions.claim("s", worker: "w") }

  described = { id: "s", type: "pull-wake", streams: [] }
  granted = { wake_id: "w_1", generation: 3, token: "secret", lease_ttl_ms: 1000, streams: [] }
  acked = { ok: true, next_wake: false }

  # verb, path, the JSON of a success (nil: no content), and the call.
  requests = {
    "create" => ["PUT", "/s", described,
                 ->(all, _) { all.create("s", type: :pull_wake, pattern: "a/*", wake_stream: "w") }],
    "find" => ["GET", "/s", described, ->(all, _) { all.find("s") }],
    "delete" => ["DELETE", "/s", nil, ->(all, _) { all.delete("s") }],
    "add_streams" => ["POST", "/s/streams", nil, ->(all, _) { all.add_streams("s", "a") }],
    "remove_stream" => ["DELETE", "/s/streams/a", nil, ->(all, _) { all.remove_stream("s", "a") }],
    "claim" => ["POST", "/s/claim", granted, ->(all, _) { all.claim("s", worker: "w") }],
    "ack" => ["POST", "/s/ack", acked, ->(_, claim) { claim.ack({ "a" => "1" }, done: true) }],
    "release" => ["POST", "/s/release", nil, ->(_, claim) { claim.release }]
  }

  def respond(reply, json)
    json ? reply.respond(200, JSON.generate(json), "content-type" => "application/json") : reply.respond(204)
  end

  before { faults.on("POST", %r{/claim\z}) { |reply| respond(reply, granted) } }

  requests.each do |name, (verb, path, json, call)|
    path = "/__ds/subscriptions#{path}"

    it "sends #{name} again after a lost response, a broken one and a 503" do
      claim
      faults.next(verb, path, &:rst)
      faults.on(verb, path) { |reply| respond(reply, json) }
      call.call(subscriptions, claim)
      faults.next(verb, path) { |reply| reply.retry_after(0, 503) }
      faults.next(verb, path) { |reply| respond(reply.cut(after: 200), json || { long: "x" * 500 }) } if json
      call.call(subscriptions, claim)
      first, *others = faults.requests(method: verb, path: path).last(4)
      expect(others.map(&:body)).to all(eq(first.body))
      expect(others.size).to be >= 2
    end

    it "takes a web page for no response to #{name}" do
      claim
      faults.on(verb, path) { |reply| reply.respond(200, "<html>Hello", "content-type" => "text/html") }
      expect { call.call(subscriptions, claim) }.to raise_error(DurableStreams::SubscriptionsNotSupportedError)
    end
  end

  %w[ack release].each do |name|
    verb, path, json, call = requests.fetch(name)

    it "sends #{name} with the token of the claim, but not to another origin" do
      FaultServer.start do |elsewhere|
        elsewhere.on { |reply| respond(reply, json) }
        faults.next(verb) { |reply| respond(reply, granted) }
        faults.next(verb) { |reply| reply.redirect(elsewhere.url("/t"), 307) }
        call.call(subscriptions, claim)
        tokens = faults.requests.map { |request| request.header("authorization") }
        expect(tokens).to eq(["Bearer user", "Bearer secret"])
        expect(faults.requests.last.path).to end_with(path)
        expect(elsewhere.wait_for_request.header("authorization")).to be_nil
      end
    end
  end

  it "says of a claim that it may have been granted" do
    faults.next("POST", &:rst)
    faults.next("POST") do |reply|
      reply.respond(409, '{"error": {"code": "ALREADY_CLAIMED", "current_holder": "w", "generation": 3}}')
    end
    expect { claim }.to raise_error(DurableStreams::AlreadyClaimedError) { |error|
      expect(error).to have_attributes(outcome_unknown?: true, current_holder: "w", attempts: 2)
    }
  end

  it "says of an ack with done that it may have been stored" do
    claim
    faults.next("POST", &:rst)
    faults.next("POST") { |reply| reply.respond(409, '{"error": {"code": "FENCED"}}') }
    expect { claim.ack(done: true) }.to raise_error(DurableStreams::FencedError) { |error|
      expect(error).to be_outcome_unknown
    }
  end

  it "counts a release as done if it is fenced after a lost response" do
    claim
    faults.next("POST", &:rst)
    faults.next("POST") { |reply| reply.respond(409, '{"error": {"code": "FENCED"}}') }
    expect(claim.release).to be_nil
  end

  it "reads descriptions of any size" do
    streams = Array.new(5_000) { |n| { path: "orders/#{n}", link_type: "glob", acked_offset: "-1" } }
    faults.on("GET") { |reply| respond(reply, described.merge(streams: streams)) }
    expect(subscriptions.find("s").streams.size).to eq(5_000)
    few = fault_client(max_message_bytes: 100_000).subscriptions
    expect { few.find("s") }.to raise_error(DurableStreams::ParseError, /more than 100000 bytes/)
  end

  it "finds what an event has acked if the webhook names the stream in another notation" do
    faults.on("POST") { |reply| respond(reply, { ok: true }) }
    streams = [{ path: "a b", link_type: "glob", acked_offset: "-1", tail_offset: "2", pending: true }]
    webhook = { subscription_id: "s", wake_id: "w", generation: 1, callback_token: "t", streams: streams }
    event = DurableStreams::Webhook::Event.new(fault_client, JSON.parse(JSON.generate(webhook)))
    event.ack("/a%20b", "1")
    event.done
    acks = faults.requests.map { |request| JSON.parse(request.body)["acks"] }
    expect(acks).to eq([[{ "stream" => "a b", "offset" => "1" }], []])
  end
end
