# frozen_string_literal: true

require "pathname"
require "uri"

RSpec.describe DurableStreams::Configuration do
  subject(:config) { described_class.new }

  it "starts with the documented settings" do
    expect(config).to have_attributes(base_url: nil, default_content_type: :json, default_headers: {},
                                      default_params: {}, timeout: 30, each_yields: :batches, ca_file: nil,
                                      live_timeout: 120, max_message_bytes: 1 << 30,
                                      retry_policy: DurableStreams::RetryPolicy.default)
  end

  it "has no chosen retry policy if that is set to nil" do
    config.retry_policy = DurableStreams::RetryPolicy.default
    expect(config).not_to be_patient
    config.retry_policy = nil
    expect(config).to be_patient
  end

  it "encodes by JSON.generate unless an encoder is chosen" do
    generate = JSON.method(:generate)
    encoder = ->(data) { data.to_s }
    chosen = [nil, generate, encoder].map do |value|
      config.json_encoder = value
      [config.json_encoder, config.chosen_json_encoder]
    end
    expect(chosen).to eq([[generate, nil], [generate, false], [encoder, encoder]])
  end

  it "accepts trusted origins as a list or a callable" do
    config.trusted_origins = ["HTTPS://Node2:4437", "http://node3:80/", URI("https://node4")]
    expect(config.trusted_origins).to eq(%w[https://node2:4437 http://node3 https://node4])
    expect(config.trusted_origins).to be_frozen
    callable = ->(_origin) { true }
    config.trusted_origins = callable
    expect(config.trusted_origins).to be(callable)
    config.trusted_origins = nil
    expect(config.trusted_origins).to eq([])
  end

  {
    base_url: [["example.com", ""], ["/path", ""], ["", ""], ["ftp://host", ""], ["http://host?token=secret", "secret"],
               ["http://", ""], [7, "7"], ["http://host/a b", ""], ["http:///me:secret@host", "secret"],
               ["http:me:secret@host", "secret"], ["http:\\\\me:secret@host", "secret"], ["me:secret@host", "secret"]],
    timeout: [[0, ""], [-1, ""], ["30", ""], [nil, ""], [Float::NAN, ""], [Float::INFINITY, ""], [Complex(1, 1), ""]],
    live_timeout: [[0, ""], [-1, ""], ["30", ""], [nil, ""], [Float::NAN, ""]],
    max_message_bytes: [[0, ""], [-1, ""], [1.5, ""], [nil, ""], [1 << 31, ""]],
    retry_policy: [[{ max_retries: 3 }, ""], [3, ""]],
    exactly_once: [["true", ""], [1, ""], [:yes, ""]],
    each_yields: [[:chunks, ""], [nil, ""], ["items", ""]],
    json_encoder: [["{}", ""], [JSON, ""], [:generate, ""]],
    default_content_type: [[:xml, ""], [7, ""], ["", ""]],
    trusted_origins: [["https://h", ""], [7, ""], [[7], ""], [["h:80"], ""], [["https://h/path"], ""],
                      [["https://h?q"], ""], [["https://me:secret@h"], "secret"]],
    ca_file: [[7, "7"], ["/no/such/file.pem", ""]]
  }.each do |name, values|
    values.each do |value, hidden|
      it "rejects #{name} = #{value.inspect} when it is set" do
        expect { config.public_send("#{name}=", value) }.to raise_error(ArgumentError) { |error|
          expect(error.message).to include(name.to_s.delete_prefix("default_"))
          expect(error.message).not_to include(hidden) unless hidden.empty? || hidden == "7"
        }
      end
    end
  end

  it "rejects invalid headers and parameters without showing their values" do
    expect { config.default_headers = "x: y" }.to raise_error(ArgumentError, "headers must be a Hash, got String")
    expect { config.default_params = [] }.to raise_error(ArgumentError, "params must be a Hash, got Array")
    expect { config.default_headers = { "Authorization" => ["secret"] } }
      .to raise_error(ArgumentError, /\Aheaders\["Authorization"\] must be a String, .* responds to call, got Array\z/)
    expect { config.default_headers = { 7 => "x" } }.to raise_error(ArgumentError, /Symbol names, got Integer/)
  end

  it "accepts a URI and a Pathname" do
    config.base_url = URI("https://host/prefix")
    config.ca_file = Pathname(__FILE__)
    expect(config).to have_attributes(base_url: "https://host/prefix", ca_file: __FILE__)
  end

  describe "#freeze" do
    it "freezes the settings, but not objects of the caller" do
      token = +"secret"
      provider = Class.new { def call; end }.new
      headers = { "Authorization" => token, "X-Other" => provider }
      config.default_headers = headers
      config.retry_policy = DurableStreams::RetryPolicy.new(retryable_statuses: [500])
      config.freeze
      expect([config, config.default_headers, config.default_headers["Authorization"], config.default_params,
              config.retry_policy, config.retry_policy.retryable_statuses]).to all(be_frozen)
      expect([headers, token, provider].map(&:frozen?)).to all(be(false))
      token << "changed"
      expect(config.default_headers["Authorization"]).to eq("secret")
      expect(config.default_headers["X-Other"]).to equal(provider)
    end

    it "includes headers that are added in the block" do
      context = DurableStreams.new_context { |c| c.default_headers["X-Tenant"] = 42 }
      expect(context.config.default_headers).to eq("X-Tenant" => "42")
    end
  end

  it "is copied deeply" do
    config.default_headers["A"] = "1"
    copy = config.dup
    copy.default_headers["B"] = "2"
    copy.retry_policy.max_retries = 0
    expect(config.default_headers).to eq("A" => "1")
    expect(config.retry_policy.max_retries).to eq(5)
  end

  it "never shows values of headers or parameters, or userinfo" do
    config.base_url = "https://user:secret@host/path"
    config.default_headers = { "Authorization" => "secret" }
    config.default_params = { "token" => "secret" }
    client = DurableStreams::Client.new(base_url: config.base_url, headers: config.default_headers)
    shown = [config, DurableStreams::Context.new(config), client, client.stream("/a?token=secret")].map(&:inspect)
    expect(shown.join).to include("Authorization", "https://host/path")
    expect(shown.join).not_to include("secret")
  end

  ["http://user:secret@", "http:///user:secret@", "http:///\\user:secret@", "HTTP://user:sec@ret@", "http://secret@"]
    .each do |start|
    it "never shows the userinfo of a URL that begins with #{start}" do
      policy = DurableStreams::RetryPolicy.new(max_retries: 0)
      client = DurableStreams::Client.new(retry_policy: policy)
      stream = client.stream("#{start}127.0.0.1:1/a", content_type: :bytes)
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "a")
      reader = stream.read_bytes
      shown = [stream, producer, reader, reader.each, reader.lazy].map(&:inspect)
      reader.close
      expect { reader.first }.to raise_error(DurableStreams::ClosedError) { |e| shown << e.message << e.url }
      expect { stream.head }.to raise_error(DurableStreams::ConnectionError) { |e| shown << e.message << e.url }
      expect(shown).to all(include("127.0.0.1:1/a").and(match(/\A((?!sec|ret).)*\z/m)))
    end
  end
end
