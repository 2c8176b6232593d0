# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "and events" do
  include_context "with streams in memory"

  let(:url) { "http://durable-streams.test/events" }

  def request(operation, method, status, **rest)
    { operation: operation, method: method, url: url, status: status, attempt: 1, bytes_sent: 0, bytes_received: 0,
      **rest }
  end

  it "has those of appends and reads" do
    seen = record_events(url: url)
    stream.append({ a: 1 })
    stream.read_json.to_a
    offset = stream.head.next_offset
    expect(seen.names).to eq(%w[request request append request read request])
    expect(seen.map(&:payload)).to match(
      [request(:create, "PUT", 201), request(:append, "POST", 204, bytes_sent: 9),
       { url: url, bytes: 7, next_offset: offset, together: 1 },
       request(:read, "GET", 200, bytes_received: 9),
       { url: url, mode: :catch_up, items: 1, next_offset: offset, up_to_date: true },
       request(:head, "HEAD", 200)]
    )
    expect(seen.threads).to all(equal(Thread.current))
  end

  it "has those of retries, and of errors that a rule injects" do
    stream
    mock.on(:post, "/events", status: 429, times: 1)
    seen = record_events(url: url)
    stream.append(1)
    expect(seen.names).to eq(%w[request retry request append])
    expect(seen.named("retry").first.payload)
      .to match({ operation: :append, url: url, attempt: 1, delay: be > 0, reason: "rate limited (429)" })
    mock.on(:post, "/events", error: :connection)
    expect { stream.append(2) }.to raise_error(DurableStreams::ConnectionError)
    expect(seen.named("request").last).to have_attributes(
      error: be_a(DurableStreams::ConnectionError), payload: request(:append, "POST", nil, bytes_sent: 3)
    )
  end

  it "has those of live reads that lose their connection" do
    stream.append(1)
    seen = record_events(/read|connect\./)
    stream.read_json(live: :long_poll) do |reader|
      expect(reader.next).to eq(1)
      mock.on(:get, "/events", error: :connection, times: 1)
      [2, 3].each do |number|
        stream.append(number)
        expect(reader.next).to eq(number)
      end
    end
    expect(seen.named("read").sum { |event| event.payload[:items] }).to eq(3)
    outages = seen.named("disconnect") + seen.named("reconnect")
    expect(outages.map { |event| event.payload.slice(:mode, :reason, :attempts) })
      .to eq([{ mode: :long_poll, reason: "the connection was lost", attempts: 1 }] * 2)
  end

  it "has those of producers, on the callback thread" do
    seen = record_events("batch.durable_streams")
    DurableStreams::Producer.open(stream: stream, producer_id: "p") { |producer| producer << 1 << 2 }
    event, = seen.wait_for
    expect(event.payload).to include(url: url, producer_id: "p", seq: 0, messages: 2, bytes: 5)
  end
end
