# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "faults" do
  include_context "with streams in memory"

  let(:stream) { client.create("/events", content_type: :json) }

  it "can be statuses, a number of times, after which a retry succeeds" do
    stream
    mock.on(:post, "/v1/events", status: 429, times: 2)
    stream.append(1)
    expect(described_class.requests.count { |request| request[:method] == :post }).to eq(3)
    expect(described_class.messages_for("/v1/events")).to eq([1])
  end

  it "can be statuses with body and headers" do
    stream
    mock.on(:post, %r{/events\z}, status: 429, body: { error: "slow down" }, headers: { "Retry-After" => 60 })
    expect { stream.append(1) }.to raise_error(DurableStreams::RateLimitedError) { |error|
      expect(error).to have_attributes(status: 429, body: '{"error":"slow down"}', retry_after: 60)
    }
  end

  it "can be connection errors and timeouts" do
    stream
    mock.on(:post, "/v1/events", error: :connection)
    expect { stream.append(1) }.to raise_error(DurableStreams::ConnectionError) { |error|
      expect(error).to be_outcome_unknown
    }
    mock.on(:post, "/v1/events", error: :timeout)
    expect { stream.append(1) }.to raise_error(DurableStreams::TimeoutError, /30 s/)
    expect { mock.on(:post, "/v1/events", error: :earthquake) }.to raise_error(ArgumentError, /:refused/)
  end

  it "that prevent the request from being sent are retried" do
    stream
    mock.on(:post, "/v1/events", error: :refused, times: 3)
    stream.append(1)
    mock.on(:get, "/v1/events", error: :connection, times: 2)
    expect(stream.read_all).to eq([1])
  end

  it "can be returned by a block, which returns nil for no fault" do
    stream
    seen = []
    mock.on(:post, "/v1/events") do |request|
      seen << request[:body]
      { status: 400, body: "no twos" } if request[:body].include?("2")
    end
    stream.append(1)
    expect { stream.append(2) }.to raise_error(DurableStreams::BadRequestError, /no twos/)
    mock.on(:head, "/v1/events") { 401 }
    expect { stream.head }.to raise_error(DurableStreams::UnauthorizedError)
    mock.on(:head, "/v1/events") { Object.new }
    expect { stream.head }.to raise_error(ArgumentError, /the block must return/)
    expect(seen).to eq(%w{[1] [2]})
  end

  it "can be exceptions, which reach the caller unchanged" do
    mistake = Class.new(StandardError)
    mock.on(:get, "/v1/events") { raise mistake, "mine" }
    expect { stream.read_json.to_a }.to raise_error(mistake, "mine")
    mock.on(:head, "/v1/events") { throw :out, :thrown }
    expect(catch(:out) { stream.head }).to eq(:thrown)
    mock.on(:delete, "/v1/events") { stream.head_of_nothing }
    expect { stream.delete }.to raise_error(NoMethodError)
  end

  it "can use the client in the block" do
    mock.on(:post, "/v1/events") { stream.delete && nil }
    expect { stream.append(1) }.to raise_error(DurableStreams::StreamNotFoundError)
  end

  it "can be successes, which get the headers that they need" do
    mock.on(:get, "/v1/canned", status: 200, body: [{ a: 1 }])
    mock.on(:post, "/v1/canned", status: 200)
    canned = client.stream("/canned", content_type: :json)
    expect(canned.read_json.to_a).to eq([{ "a" => 1 }])
    expect(canned.append(2).next_offset).to be_a(String)
    mock.on(:post, "/v1/canned", status: 204, headers: { "Stream-Next-Offset" => nil })
    expect { canned.append(2) }.to raise_error(DurableStreams::FetchError, /Stream-Next-Offset/)
  end

  it "raise ArgumentError for invalid arguments" do
    expect { mock.on(:post, "/a") }.to raise_error(ArgumentError, /status:, error: and a block/)
    expect { mock.on(:post, "/a", status: 1) }.to raise_error(ArgumentError, /from 100 to 999/)
    expect { mock.on(:patch, "/a", status: 200) }.to raise_error(ArgumentError, /method must be/)
    expect { mock.on(:post, "/a", status: 200, times: 0) }.to raise_error(ArgumentError, /times/)
  end
end
