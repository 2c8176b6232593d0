# frozen_string_literal: true

# The requests that reads send: their parameters, their order, and how far ahead they go.
RSpec.describe "The requests of a read", :faults do
  let(:stream) { fault_stream }

  it "have sorted parameters, the server's last cursor, and no `live` before the read has caught up" do
    faults.next { |reply| reply.read("[1]", next_offset: "1", cursor: "a", up_to_date: false) }
    faults.next { |reply| reply.read("[2]", next_offset: "2", cursor: "b") }
    faults.next { |reply| reply.respond(204, "stream-next-offset" => "2", "stream-cursor" => "c") }
    faults.next { |reply| reply.read("[3]", next_offset: "3", up_to_date: false) }
    faults.next { |reply| reply.read("[4]", next_offset: "4", closed: true) }
    stream = fault_client(params: { "tenant" => "t", "a" => "1" }).stream("/s?m=1", content_type: :json)
    batches = stream.read(live: :long_poll).to_a
    expect(batches.map(&:items)).to eq([[1], [2], [], [3], [4]])
    expect(batches.map(&:up_to_date?)).to eq([false, true, true, false, true])
    queries = %w[
      a=1&m=1&offset=-1&tenant=t a=1&m=1&offset=1&tenant=t a=1&cursor=b&live=long-poll&m=1&offset=2&tenant=t
      a=1&cursor=c&live=long-poll&m=1&offset=2&tenant=t a=1&cursor=c&live=long-poll&m=1&offset=3&tenant=t
    ]
    expect(faults.requests.map(&:query)).to eq(queries)
  end

  it "have the given cursor from the first live request" do
    faults.next { |reply| reply.read("[]", next_offset: "5") }
    faults.next { |reply| reply.read("[]", next_offset: "5", closed: true) }
    stream.read(offset: "5", live: :long_poll, cursor: "saved").to_a
    expect(faults.requests.map(&:query)).to eq(["offset=5", "cursor=saved&live=long-poll&offset=5"])
  end

  %i[long_poll sse auto].each do |mode|
    it "find the tail first for offset now, so that a lost live request loses no data (#{mode})" do
      faults.next { |reply| reply.read("[]", next_offset: "9", cursor: "c") }
      faults.next(&:rst)
      faults.next do |reply|
        next reply.read("[1]", next_offset: "10", closed: true) if mode == :long_poll

        reply.sse.data("[1]").control("10", closed: true).finish
      end
      expect(stream.read_json(offset: "now", live: mode).each.to_a).to eq([1])
      expect(faults.requests.map { |request| request.params["offset"] }).to eq(%w[now 9 9])
    end
  end

  it "give a reader that starts at offset now its next_offset before there are data" do
    faults.next { |reply| reply.read("[]", next_offset: "9") }
    faults.on(nil, nil, query: { "live" => "long-poll" }, &:hang)
    reader = stream.read(offset: "now", live: :long_poll)
    expect(reader.first).to have_attributes(items: [], next_offset: "9", up_to_date?: true)
    expect(reader.next_offset).to eq("9")
  end

  it "start at the known tail in a second iteration" do
    faults.next { |reply| reply.read("[]", next_offset: "9") }
    faults.on(nil, nil, query: { "live" => "long-poll" }, &:hang)
    reader = stream.read_json(offset: "now", live: :long_poll)
    reading = in_thread { reader.first }
    faults.wait_for_request(2)
    reading.kill.join
    faults.on { |reply| reply.read("[1]", next_offset: "10", closed: true) }
    expect(reader.each.to_a).to eq([1])
    expect(faults.requests.last.params["offset"]).to eq("9")
  end

  describe "read-ahead" do
    # A stream that never ends, with one item in each response.
    def endless
      faults.on { |reply| reply.read("[0]", next_offset: "0", up_to_date: false) }
      50.times do |n|
        faults.on(nil, nil, query: { "offset" => n.to_s }) do |reply|
          reply.read("[#{n}]", next_offset: (n + 1).to_s, up_to_date: false)
        end
      end
    end

    it "fetches one response while the application uses the one before" do
      endless
      reader = stream.read
      enumerator = reader.each
      3.times do |n|
        enumerator.next
        faults.wait_for_request(n + 2)
        faults.wait_until_responded(n + 2)
        expect(faults.requests.size).to eq(n + 2)
      end
      reader.close
    end

    it "is limited in bytes, so that a huge response is not read whole" do
      size = 24 * 1024 * 1024
      faults.on { |reply| reply.pieces(1 << 20).read("[#{"1," * (size / 2)}1]", next_offset: "1") }
      reader = stream.read_json
      expect(reader.first(10)).to eq([1] * 10)
      expect(faults.wait_until_closed(by: :client)).not_to be_nil
      expect(faults.events(type: :responded)).to be_empty
    end
  end

  describe "a request that is no longer needed" do
    def endless_events
      faults.on do |reply|
        reply.sse.data("[1]").control("1").data("[2]").control("2", up_to_date: true).hang
      end
    end

    it "is cancelled by a break" do
      endless_events
      stream.read_json(live: :sse).each { |item| break if item }
      expect(faults.wait_until_closed(1, by: :client)).not_to be_nil
    end

    it "is cancelled by an exception" do
      endless_events
      expect { stream.read_json(live: :sse).each { |item| raise "enough" if item } }.to raise_error("enough")
      expect(faults.wait_until_closed(1, by: :client)).not_to be_nil
    end

    it "is cancelled by first, take and lazy" do
      [->(r) { r.first }, ->(r) { r.take(2) }, ->(r) { r.lazy.map { |i| i }.first(1) }].each_with_index do |use, n|
        endless_events
        use.call(stream.read_json(live: :sse))
        expect(faults.wait_until_closed(n + 1, by: :client)).not_to be_nil
      end
    end

    it "is cancelled with the reader that is collected as garbage" do
      endless_events
      # Several readers, because a stack may still refer to one. Each has its own thread, whose stack is not used again.
      5.times { Thread.new { stream.read_json(live: :sse).next }.join }
      faults.wait_for_request(5)
      deadline = now + 60
      GC.start while faults.events(type: :closed, by: :client).empty? && now < deadline
      expect(faults.events(type: :closed, by: :client)).not_to be_empty
    end
  end
end
