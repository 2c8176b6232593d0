# frozen_string_literal: true

# Readers of a client that wait at the same position of a stream send one long-poll and share its response.
RSpec.describe "Long-polls of several readers", :faults do
  let(:readers) { 5 }
  let(:long_poll) { { "live" => "long-poll" } }
  let(:client) { fault_client }
  let(:stream) { client.stream("/s", content_type: :json) }
  # What each reader got, batches without items included.
  let(:batches) { Array.new(readers) { Queue.new } }

  before { faults.on("GET", nil, query: { "live" => nil }) { |reply| reply.read("[]", next_offset: "1") } }

  # Lets every reader follow its stream in a thread, and waits until all are up to date.
  # @return [Array] the readers
  def follow(streams = [stream] * readers)
    all = streams.map { |handle| handle.read(live: :long_poll) }
    @reading = all.zip(batches).map { |reader, to| in_thread { reader.each { |batch| to << batch.items } } }
    batches.first(all.size).each { |got| expect(got.pop).to eq([]) }
    all
  end

  def polls
    faults.requests.count { |request| request.params["live"] }
  end

  # Waits until this many long-polls have arrived.
  def wait_for_polls(count)
    faults.wait_until_waiting(:data, count)
  end

  it "are one request, and each reader gets every item once" do
    { "1" => ["[1]", "2"], "2" => ["[2,3]", "3"] }.each do |offset, (body, next_offset)|
      faults.on("GET", nil, query: long_poll.merge("offset" => offset)) do |reply|
        reply.wait(:"from #{offset}").read(body, next_offset: next_offset)
      end
    end
    faults.on("GET", nil, query: long_poll.merge("offset" => "3")) { |reply| reply.wait(:data) }
    follow
    [["1", [1]], ["2", [2, 3]]].each do |offset, items|
      faults.wait_until_waiting(:"from #{offset}")
      faults.open(:"from #{offset}")
      batches.each { |got| expect(got.pop).to eq(items) }
    end
    wait_for_polls(1)
    expect(polls).to be < 2 * readers
    expect(batches).to all(be_empty)
  end

  5.times do |survivor|
    it "go on for reader #{survivor} when all others are closed" do
      faults.on("GET", nil, query: long_poll) { |reply| reply.wait(:data).read("[1]", next_offset: "2", closed: true) }
      all = follow
      wait_for_polls(1)
      (all - [all[survivor]]).each(&:close)
      faults.open(:data)
      expect(batches[survivor].pop).to eq([1])
      expect(@reading.map(&:value)).to eq(all)
    end
  end

  it "are sent again when the thread that sent the first one is killed" do
    faults.on("GET", nil, query: long_poll) { |reply| reply.wait(:data).read("[1]", next_offset: "2", closed: true) }
    follow
    wait_for_polls(1)
    @reading.drop(1).each { |thread| thread.kill.join }
    faults.open(:data)
    expect(batches[0].pop).to eq([1])
  end

  failures = {
    "is reset" => ->(reply) { reply.rst },
    "is shorter than announced" => ->(reply) { reply.respond(200, "[1", length: 9, "stream-next-offset" => "2").fin },
    "is a 503" => ->(reply) { reply.respond(503) }
  }
  failures.each do |what, fail|
    it "deliver every item once when the response #{what}" do
      faults.on("GET", nil, query: long_poll) { |reply| reply.read("[1]", next_offset: "2", closed: true) }
      faults.next("GET", nil, query: long_poll) { |reply| fail.call(reply.wait(:data)) }
      all = follow
      wait_for_polls(1)
      faults.open(:data)
      batches.each { |got| expect(got.pop).to eq([1]) }
      expect(@reading.map(&:value)).to eq(all)
      expect(batches).to all(be_empty)
    end

    it "are not sent again by each reader at once when the response #{what}" do
      faults.on("GET", nil, query: long_poll) { |reply| fail.call(reply.wait(:data)) }
      follow([fault_client(retries: { max_retries: 0 }).stream("/s", content_type: :json)] * readers)
      wait_for_polls(1)
      faults.open(:data)
      expect(@reading.map(&:value)).to all(be_a(DurableStreams::Error))
      expect(polls).to be < readers # A reader that is late sends its own.
    end
  end

  it "are sent again without an error after a silence of live_timeout, also for a reader that joined late" do
    faults.on("GET", nil, query: long_poll) { |reply| reply.read("[1]", next_offset: "2", closed: true) }
    faults.next("GET", nil, query: long_poll) { |reply| reply.wait(:data) }
    hasty = fault_client(timeout: 1, live_timeout: 2, retries: { max_retries: 0 }).stream("/s", content_type: :json)
    follow([hasty])
    wait_for_polls(1)
    sleep 1.5 # The long-poll ends after 3 seconds. Then the late reader has waited for less than live_timeout.
    expect(hasty.read_json(live: :long_poll).to_a).to eq([1])
  end

  it "raise the error of a status in every reader" do
    faults.on("GET", nil, query: long_poll) { |reply| reply.wait(:data).respond(410) }
    follow
    wait_for_polls(1)
    faults.open(:data)
    expect(@reading.map(&:value)).to all(be_a(DurableStreams::Error).and(have_attributes(status: 410)))
  end

  { "with" => false, "without" => true }.each do |length, chunked|
    it "deliver a large response #{length} a Content-Length" do
      items = Array.new(2000) { |number| { "number" => number, "text" => "x" * 80 } }
      headers = read_headers("2", "stream-closed" => "true")
      faults.on("GET", nil, query: long_poll) do |reply|
        reply.wait(:data)
        next reply.respond(200, items.to_json, **headers) unless chunked

        reply.head(200, **headers).chunk(items.to_json, size: 5_000).finish
      end
      follow
      wait_for_polls(1)
      faults.open(:data)
      @reading.each(&:value)
      expect(batches.map { |got| Array.new(got.size) { got.pop }.sum([]) }).to all(eq(items))
    end
  end

  it "are separate requests if handles send different headers or parameters, or clients differ" do
    faults.on("GET", nil, query: long_poll) { |reply| reply.wait(:data).read("[1]", next_offset: "2", closed: true) }
    follow([
             stream, client.stream("/s", content_type: :json, headers: { "x-user" => "a" }),
             client.stream("/s", content_type: :json, params: { "user" => "a" }),
             client.stream("/s", content_type: :json, headers: { "x-user" => -> { "a" } }),
             fault_client.stream("/s", content_type: :json)
           ])
    wait_for_polls(5)
    faults.open(:data)
    batches.each { |got| expect(got.pop).to eq([1]) }
  end

  it "are sent by a forked child for itself" do
    faults.on("GET", nil, query: long_poll) { |reply| reply.wait(:data).read("[1]", next_offset: "2", closed: true) }
    follow
    wait_for_polls(1)
    child = ChildProcess.start { stream.read_json(live: :long_poll).to_a }
    wait_for_polls(2)
    faults.open(:data)
    expect(child.value).to eq([1])
    batches.each { |got| expect(got.pop).to eq([1]) }
  end
end
