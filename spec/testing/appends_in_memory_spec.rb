# frozen_string_literal: true

require "durable_streams/testing"

# Appends with `exactly_once: true` to streams in memory, which respond to producer headers as a server does.
RSpec.describe DurableStreams::Testing do
  let(:mock) { described_class.mock_transport }
  let(:policy) { DurableStreams::RetryPolicy.new(initial_delay: 0.001, max_delay: 0.01) }
  let(:client) do
    DurableStreams::Client.new(base_url: "https://streams.example.com", retry_policy: policy, exactly_once: true)
  end
  let(:stream) { client.create("/events", content_type: :json) }

  before { described_class.install! }
  after { described_class.reset! }

  def numbers
    described_class.requests.select { |request| request[:method] == :post }
                   .map { |request| Integer(request[:headers]["producer-seq"]) }
  end

  it "accepts appends with exactly_once, and a close with data" do
    expect(Array.new(3) { |n| stream.append(n) }).to all(be_a(DurableStreams::AppendResult))
    stream.close_stream(data: 3)
    expect(described_class.messages_for("/events")).to eq([0, 1, 2, 3])
    expect(numbers).to eq([0, 1, 2, 3])
    expect { stream.append(4) }.to raise_error(DurableStreams::StreamClosedError)
  end

  { "a lost response" => { error: :connection }, "a 503" => { status: 503 } }.each do |name, fault|
    it "stores an append once after #{name}" do
      mock.on(:post, "/events", times: 2, **fault)
      expect(stream.append(1)).not_to be_duplicate
      expect(described_class.messages_for("/events")).to eq([1])
      expect(numbers).to eq([0, 0, 0])
    end
  end

  it "stores the appends of threads that share a handle once" do
    stream
    Array.new(8) { |thread| Thread.new { 10.times { |n| stream.append([thread, n]) } } }.each(&:join)
    messages = described_class.messages_for("/events")
    expect(messages).to match_array(Array.new(8) { |thread| Array.new(10) { |n| [thread, n] } }.flatten(1))
  end

  it "raises an exception of a rule, and stores later appends under a new id" do
    mock.on(:post, "/events", times: 1) { |_| raise IOError, "broken" }
    expect { stream.append(1) }.to raise_error(IOError, "broken")
    stream.append(2)
    expect(described_class.messages_for("/events")).to eq([2])
    expect(described_class.requests.map { |request| request[:headers]["producer-id"] }.compact.uniq.size).to eq(2)
  end
end
