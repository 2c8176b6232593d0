# frozen_string_literal: true

# Which requests a webhook accepts. The fault server has the keys.
RSpec.describe DurableStreams::Webhook, "signatures", :faults do
  include_context "with log lines"

  let(:key) { SigningKey.new("first") }
  let(:webhook) { described_class.new(fault_client) { |event| seen << event.wake_id } }
  let(:seen) { [] }
  let(:body) do
    JSON.generate(subscription_id: "s", wake_id: "w_1", generation: 1, callback_token: "token", streams: [])
  end

  before do
    serve(key)
    faults.on("POST", %r{/callback\z}) { |reply| reply.respond(200, '{"ok": true, "next_wake": false}') }
  end

  def serve(*keys)
    faults.on("GET", "/__ds/jwks.json") do |reply|
      reply.respond(200, JSON.generate(keys: keys.map(&:jwk)), "content-type" => "application/jwk-set+json")
    end
  end

  # Lets the clock of the process jump.
  def pass(seconds)
    allow(Process).to receive(:clock_gettime).and_wrap_original do |original, *arguments|
      original.call(*arguments) + seconds
    end
  end

  def key_requests
    faults.requests(path: "/__ds/jwks.json").size
  end

  # The status of the response.
  def post(signature, text = body, **env)
    webhook.call({ "REQUEST_METHOD" => "POST", "HTTP_WEBHOOK_SIGNATURE" => signature,
                   "rack.input" => StringIO.new(text) }.merge(env)).first
  end

  it "accept what the server has signed, with one request for its keys" do
    3.times { expect(post(key.sign(body))).to eq(200) }
    expect([seen, key_requests, log_lines]).to eq([["w_1"] * 3, 1, []])
  end

  it "may be a few minutes old, or from the future, because clocks differ" do
    now = Time.now.to_i
    { 290 => 200, 310 => 401, -290 => 200, -310 => 401, now => 401 }.each do |age, status|
      expect([age, post(key.sign(body, at: now - age))]).to eq([age, status])
    end
    strict = described_class.new(fault_client, tolerance: 5) { nil }
    env = { "REQUEST_METHOD" => "POST", "HTTP_WEBHOOK_SIGNATURE" => key.sign(body, at: now - 10),
            "rack.input" => StringIO.new(body) }
    expect(strict.call(env).first).to eq(401)
  end

  {
    "no signature" => [/no signature/, ->(*) { [nil] }],
    "an empty signature" => [/no signature/, ->(*) { [""] }],
    "a short signature" => [/no signature/, ->(*) { ["t=1,kid=first,ed25519=AAAA"] }],
    "a signature by another key of the same id" =>
      [/not that of the body/, ->(_, body) { [SigningKey.new("first").sign(body)] }],
    "a changed body" => [/not that of the body/, ->(key, body) { [key.sign(body), body.sub("w_1", "w_2")] }],
    "a changed time" =>
      [/not that of the body/, ->(key, body) { [key.sign(body).sub(/t=\d+/, "t=#{Time.now.to_i - 1}")] }],
    "an old signature" => [/too old/, ->(key, body) { [key.sign(body, at: 1)] }],
    "an unknown key" => [/no key with/, ->(_, body) { [SigningKey.new("new").sign(body)] }],
    "another method" => [/no POST/, ->(key, body) { [key.sign(body), body, { "REQUEST_METHOD" => "GET" }] }],
    "an Array" => [/not about a wake/, ->(key, _) { [key.sign("[]"), "[]"] }],
    "broken JSON" => [/not about a wake/, ->(key, _) { [key.sign("{"), "{"] }],
    "an empty object" => [/not about a wake/, ->(key, _) { [key.sign("{}"), "{}"] }]
  }.each do |what, (reason, arguments)|
    it "refuse a request with #{what}, and log only the reason" do
      signature, text, env = arguments.call(key, body)
      expect(post(signature, text || body, **env.to_h)).to eq(401)
      expect(seen).to eq([])
      expect(log_lines).to match([/\AWARN durable_streams: a webhook was refused: [a-z',; ]+\z/i])
      expect(log_lines.first).to match(reason)
    end
  end

  it "refuse large bodies before they are read" do
    unread = Object.new
    expect(post(key.sign(body), "CONTENT_LENGTH" => "16777217", "rack.input" => unread)).to eq(401)
    large = "x" * (16 * 1024 * 1024)
    expect([post(key.sign(large), large), post(key.sign("#{large}x"), "#{large}x")]).to eq([401, 401])
    expect(log_lines).to match([/more than 16777216 bytes/, /not about a wake/, /more than 16777216 bytes/])
  end

  it "are checked although a middleware has read the body" do
    input = StringIO.new(body)
    input.read
    expect(post(key.sign(body), "rack.input" => input)).to eq(200)
  end

  it "are accepted if one of several is valid" do
    wrong = SigningKey.new("other").sign(body)
    expect(post("#{wrong},#{key.sign(body)}")).to eq(200)
    expect(post("#{key.sign(body)}, #{wrong}")).to eq(200)
  end

  describe "by a new key" do
    let(:new_key) { SigningKey.new("second") }

    it "make the webhook fetch the keys again, at most once a minute" do
      expect(post(key.sign(body))).to eq(200)
      serve(key, new_key)
      expect([post(new_key.sign(body)), key_requests]).to eq([401, 1])
      pass(6)
      expect([post(new_key.sign(body)), key_requests]).to eq([200, 2])
      third = SigningKey.new("third")
      [30, 64].each { |seconds| pass(seconds) && 3.times { expect(post(third.sign(body))).to eq(401) } }
      expect(key_requests).to eq(2)
      pass(67)
      3.times { expect(post(third.sign(body))).to eq(401) }
      expect(key_requests).to eq(3)
    end

    it "are accepted at once by a webhook that has no keys yet" do
      serve(new_key)
      expect(post(new_key.sign(body))).to eq(200)
    end

    it "replace those that the server has withdrawn" do
      expect(post(key.sign(body))).to eq(200)
      serve(new_key)
      expect(post(key.sign(body))).to eq(200)
      pass(301)
      expect([post(key.sign(body)), post(new_key.sign(body))]).to eq([401, 200])
    end
  end

  it "cannot be checked while the keys cannot be fetched, which is not tried all the time" do
    faults.on("GET") { |reply| reply.respond(500) }
    2.times { expect(post(key.sign(body))).to eq(503) }
    expect(key_requests).to eq(3) # One request and its retries.
    expect(log_lines).to all(match(/ERROR .*cannot be checked: the server's keys cannot be fetched: get signing keys/))
  end

  it "by an unknown key cannot be checked while new keys cannot be fetched" do
    expect(post(key.sign(body))).to eq(200)
    faults.on("GET") { |reply| reply.respond(500) }
    pass(61)
    new_key = SigningKey.new("second")
    expect([post(new_key.sign(body)), post(key.sign(body))]).to eq([503, 200])
    serve(key, new_key)
    pass(67)
    expect(post(new_key.sign(body))).to eq(200)
  end

  it "are checked with the old keys while new ones cannot be fetched" do
    expect(post(key.sign(body))).to eq(200)
    faults.on("GET") { |reply| reply.respond(500) }
    pass(301)
    expect(post(key.sign(body))).to eq(200)
  end

  it "need a block, a client and a tolerance" do
    expect { described_class.new(fault_client) }.to raise_error(ArgumentError, /requires a block/)
    none = proc {}
    expect { described_class.new(nil, &none) }.to raise_error(ArgumentError, /client must be/)
    expect { described_class.new(fault_client, tolerance: 0, &none) }.to raise_error(ArgumentError, /tolerance must be/)
    expect(webhook.inspect).to include(faults.url).and include("tolerance=300.0")
  end
end
