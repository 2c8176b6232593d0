# frozen_string_literal: true

RSpec.describe DurableStreams::Producer, "#initialize", :producer do
  def refused(message, **options)
    expect { direct(**options) }.to raise_error(ArgumentError, message)
  end

  it "rejects invalid numbers and names the option" do
    {
      epoch: [-1, 2**53, 1.0, "1", nil], next_seq: [-1, 2**53, 0.0], max_batch_bytes: [0, -1, (2**30) + 1, nil],
      max_batch_items: [0, -1, 1.5], max_in_flight: [0, 1_001, nil], max_buffered_bytes: [0, nil],
      linger_ms: [-1, Float::NAN, Float::INFINITY, "5", nil], delivery_timeout: [0, -1, Float::NAN, "5"]
    }.each { |name, values| values.each { |value| refused(/\A#{name} must be/, name => value) } }
  end

  it "accepts numbers at their limits" do
    expect(direct(epoch: (2**53) - 1, next_seq: (2**53) - 1, max_batch_bytes: 1, max_in_flight: 1_000,
                  max_buffered_bytes: 1, linger_ms: 0, delivery_timeout: nil))
      .to have_attributes(epoch: (2**53) - 1, seq: (2**53) - 2, pending: 0, closed?: false)
  end

  it "has the documented defaults" do
    defaults = { epoch: 0, next_seq: nil, auto_claim: false, max_batch_bytes: 1_048_576, max_batch_items: nil,
                 linger: 0.005, max_in_flight: 5, max_buffered_bytes: 64 * 1_048_576, block_when_full: true,
                 delivery_timeout: 120.0, retry_policy: nil }
    allow(DurableStreams::Native::Producer).to receive(:new).and_call_original
    direct
    expect(DurableStreams::Native::Producer).to have_received(:new).with(anything, hash_including(defaults))
  end

  it "rejects ids that a header cannot represent exactly" do
    [nil, :id, "", " a", "a ", "a\nb", "a\0", "\xFF"].each do |id|
      expect { described_class.new(stream: stream, producer_id: id) }.to raise_error(ArgumentError)
    end
  end

  it "rejects undocumented values" do
    refused("when_full must be :block or :raise, got :drop (Symbol)", when_full: :drop)
    refused(/\Aretry_policy must be a DurableStreams::RetryPolicy/, retry_policy: { max_retries: 1 })
    refused("on_delivery must respond to call, or be nil, got Integer", on_delivery: 1)
    refused("on_error must respond to call, or be nil, got String", on_error: "log")
    refused(/exactly one of stream: and url:/, url: "http://127.0.0.1/s")
    expect { described_class.new(producer_id: "a") }.to raise_error(ArgumentError, /exactly one of stream: and url:/)
    expect { direct(lingerms: 5) }.to raise_error(ArgumentError, /unknown keyword/)
  end

  it "writes to a url by the given client, or by the configuration's" do
    stream
    client = DurableStreams::Client.new(base_url: server_url)
    described_class.open(url: path, client: client, producer_id: "one") { |producer| producer << { a: 1 } }
    described_class.open(url: server_url + path, producer_id: "two") { |producer| producer << { a: 2 } }
    expect(stored).to eq([{ "a" => 1 }, { "a" => 2 }])
  end

  it "shows no credentials in inspect" do
    secret = described_class.new(url: "http://me:secret@127.0.0.1:1/s", producer_id: "a")
    expect(secret.inspect).to include("/s", '"a"', "closed=false")
    expect(secret.inspect).not_to include("secret")
  end
end
