# frozen_string_literal: true

require "timeout"

# Appends of many threads through one handle. While a request is in flight, the others wait and share the next one. Each
# append has its own result.
RSpec.describe "Appends that share requests", :faults do
  let(:stream) { fault_stream }

  # Makes the response to the next append wait until :go is opened.
  def hold_first
    faults.next("POST") { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
  end

  # Starts an append in a new thread, and waits until it waits: so the appends are made in a known order.
  def append(data, **options)
    thread = in_thread { stream.append(data, **options) }
    Thread.pass until thread.stop?
    thread
  end

  # Starts an append whose request is in flight, and others that wait for it.
  def queue(*data)
    hold_first
    first = append(0)
    faults.wait_until_waiting(:go)
    [first, *data.map { |item| item.is_a?(Array) ? append(item[0], **item[1]) : append(item) }]
  end

  def bodies
    faults.requests(method: "POST").map(&:body)
  end

  def stored(offset)
    have_attributes(class: DurableStreams::AppendResult, next_offset: offset)
  end

  it "share one request, in the order in which they were made" do
    appends = queue(*(1..20))
    faults.on("POST") { |reply| reply.respond(204, "stream-next-offset" => "21") }
    faults.open(:go)
    expect(appends.map(&:value)).to match([stored("7"), *[stored("21")] * 20])
    expect(bodies).to eq(["[0]", "[#{(1..20).to_a.join(",")}]"])
  end

  it "share one request on a byte stream too" do
    bytes = fault_client.stream("/s", content_type: :bytes)
    hold_first
    first = in_thread { bytes.append("0") }
    faults.wait_until_waiting(:go)
    rest = %w[a b c].map { |data| in_thread { bytes.append(data) }.tap { |thread| Thread.pass until thread.stop? } }
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    expect([first, *rest].map(&:value)).to all(stored("7"))
    expect(bodies).to eq(%w[0 abc])
  end

  it "are sent alone, in order, if they have a seq" do
    appends = queue(1, [2, { seq: "a" }], [3, { seq: "b" }], 4, 5)
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    expect(appends.map(&:value)).to all(stored("7"))
    expect(bodies).to eq(["[0]", "[1]", "[2]", "[3]", "[4,5]"])
    expect(faults.requests.map { |request| request.header("stream-seq") }).to eq([nil, nil, "a", "b", nil])
  end

  it "are sent alone if the handle has batching: false" do
    alone = fault_client.stream("/s", content_type: :json, batching: false)
    faults.on("POST") { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
    appends = Array.new(5) { |n| in_thread { alone.append(n) } }
    faults.wait_for_request(5)
    faults.open(:go)
    expect(appends.map(&:value)).to all(stored("7"))
    expect(bodies).to match_array(%w[[0] [1] [2] [3] [4]])
  end

  it "are split into requests of a limited size" do
    large = ("x" * 400_000).to_json
    appends = queue(*[large] * 4)
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    expect(appends.map(&:value)).to all(stored("7"))
    expect(bodies.map(&:bytesize).max).to be <= 1_048_576
    expect(bodies.size).to eq(3)
  end

  it "raise the error of their own data in their own thread, before anything is sent" do
    appends = queue(1, "{nope", 2)
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    malformed = an_instance_of(DurableStreams::ParseError)
    expect(appends.map(&:value)).to match([stored("7"), stored("7"), malformed, stored("7")])
    expect(bodies).to eq(["[0]", "[1,2]"])
  end

  it "are split if the server rejects them together, so that only the invalid one fails" do
    appends = queue(1, 2, 3, 4)
    # [1,2,3,4] is rejected, so [1,2] and [3,4] are sent; then [3] and [4].
    [400, 204, 400, 400, 204].each do |status|
      faults.next("POST") { |reply| reply.respond(status, **FaultHelpers::OFFSET) }
    end
    faults.open(:go)
    rejected = have_attributes(class: DurableStreams::BadRequestError, status: 400)
    expect(appends.map(&:value)).to match([stored("7"), stored("7"), stored("7"), rejected, stored("7")])
    expect(bodies).to eq(["[0]", "[1,2,3,4]", "[1,2]", "[3,4]", "[3]", "[4]"])
  end

  it "are split if they are too large together" do
    appends = queue(1, 2, 3)
    faults.next("POST") { |reply| reply.respond(413) }
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    expect(appends.map(&:value)).to all(stored("7"))
    expect(bodies).to eq(["[0]", "[1,2,3]", "[1]", "[2,3]"])
  end

  it "fail only in the threads whose appends were in a lost request" do
    appends = queue(1, 2)
    faults.next("POST", &:rst)
    faults.on("POST") { |reply| reply.respond(204, "stream-next-offset" => "9") }
    faults.open(:go)
    unknown = have_attributes(class: DurableStreams::ConnectionError, outcome_unknown?: true)
    expect(appends.map(&:value)).to match([stored("7"), unknown, unknown])
    expect(stream.append(3)).to stored("9")
    expect(bodies).to eq(["[0]", "[1,2]", "[3]"])
  end

  it "raise a separate error in each thread if the stream is closed" do
    appends = queue(1, 2)
    faults.on("POST") { |reply| reply.respond(409, "stream-closed" => "true", "stream-next-offset" => "5") }
    faults.open(:go)
    closed = have_attributes(class: DurableStreams::StreamClosedError, final_offset: "5")
    expect(appends.map(&:value)).to match([stored("7"), closed, closed])
    expect(appends[1].value).not_to equal(appends[2].value)
  end

  it "are not sent when they are interrupted while they wait" do
    appends = queue(1, 2, 3)
    appends[2].kill.join
    appends[3].raise("stop")
    expect(appends[3].value).to have_attributes(message: "stop")
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    expect(appends.first(2).map(&:value)).to all(stored("7"))
    expect(bodies).to eq(["[0]", "[1]"])
  end

  # Makes the server reject the next request. The client sends it again after a second.
  def reject_next
    faults.next("POST") { |reply| reply.retry_after(1) }
  end

  it "are not sent again if they are interrupted before their request is retried" do
    patient = fault_stream(retries: { max_retries: 1, max_delay: 5 })
    hold_first
    first = in_thread { patient.append(0) }
    faults.wait_until_waiting(:go)
    rest = [1, 2, 3].map { |n| in_thread { patient.append(n) }.tap { |thread| Thread.pass until thread.stop? } }
    reject_next
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    faults.wait_until_responded(2)
    rest.first.raise(Timeout::Error, "enough")
    rest.last.kill.join
    expect([first, *rest.first(2)].map(&:value)).to match([stored("7"), an_instance_of(Timeout::Error), stored("7")])
    expect(bodies).to eq(["[0]", "[1,2,3]", "[2]"])
  end

  { "without batching" => false, "with batching" => true }.each do |how, batching|
    it "are not sent again if a single one is interrupted before its retry (#{how})" do
      patient = fault_client(retries: { max_retries: 1, max_delay: 5 })
                .stream("/s", content_type: :json, batching: batching)
      2.times { reject_next }
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      interrupted = in_thread { patient.append(0) }
      faults.wait_until_responded(1)
      interrupted.raise(Timeout::Error, "enough")
      expect(interrupted.value).to be_a(Timeout::Error)
      # The retry of this append comes later than the other's would.
      expect(patient.append(1)).to stored("7")
      expect(bodies).to eq(["[0]", "[1]", "[1]"])
    end
  end

  it "are not sent again if all callers are interrupted before the retry, and later appends are sent" do
    patient = fault_stream(retries: { max_retries: 1, max_delay: 5 })
    hold_first
    first = in_thread { patient.append(0) }
    faults.wait_until_waiting(:go)
    rest = [1, 2].map { |n| in_thread { patient.append(n) }.tap { |thread| Thread.pass until thread.stop? } }
    2.times { reject_next }
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.open(:go)
    faults.wait_until_responded(2)
    rest.each { |thread| thread.kill.join }
    expect([first.value, patient.append(3)]).to all(stored("7"))
    expect(bodies).to eq(["[0]", "[1,2]", "[3]", "[3]"])
  end

  it "are cancelled if all their callers are interrupted, and later appends are sent" do
    appends = queue(1)
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    appends.first.kill.join
    expect(faults.wait_until_closed(1, by: :client)).not_to be_nil
    expect(appends.last.value).to stored("7")
    expect(bodies).to eq(["[0]", "[1]"])
  end

  it "are each lost or stored once while many faults occur" do
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    30.times do |n|
      faults.next("POST") { |reply| n.odd? ? reply.rst : reply.respond(204, **FaultHelpers::OFFSET) }
    end
    outcomes = Array.new(8) do |thread|
      in_thread do
        Array.new(20) do |n|
          stream.append([thread, n])
          :stored
        rescue DurableStreams::ConnectionError => e
          e.outcome_unknown? ? :unknown : :unsent
        end
      end
    end
    outcomes = outcomes.map(&:value)
    sent = bodies.flat_map { |body| JSON.parse(body) }
    expect(sent.uniq).to eq(sent)
    expect(sent.size).to eq(160)
    expect(outcomes.flatten.uniq).to contain_exactly(:stored, :unknown)
    8.times { |thread| expect(sent.select { |from, _| from == thread }.map(&:last)).to eq((0...20).to_a) }
  end
end
