# frozen_string_literal: true

# Behaviour that only reads by server-sent events have.
RSpec.describe "Event streams", :faults do
  let(:stream) { fault_stream }

  # Scripts the response to the next request for events.
  def next_events(&block)
    faults.next("GET", nil, query: { "live" => "sse" }, &block)
  end

  def read_all(live: :sse)
    stream.read_json(live: live).each.to_a
  end

  it "are requested again at once after an orderly close, from the last offset with the last cursor" do
    next_events { |reply| reply.sse.data("[1]").control("1", cursor: "a").data("[2]").control("2", cursor: "b").finish }
    next_events { |reply| reply.sse.data("[3]").control("3", closed: true).finish }
    patient = fault_stream(retries: { max_retries: 0, initial_delay: 1000, max_delay: 1000 })
    expect(timed { expect(patient.read_json(live: :sse).each.to_a).to eq([1, 2, 3]) }).to be < AtOnce::SECONDS
    expect(faults.requests.map(&:query)).to eq(["live=sse&offset=-1", "cursor=b&live=sse&offset=2"])
    expect(faults.requests.map { |request| request.header("accept") }).to all(eq("text/event-stream"))
  end

  it "are requested again after the time in `retry:` if they close in order" do
    next_events { |reply| reply.sse.chunk("retry: 250\n\n").data("[1]").control("1").finish }
    next_events { |reply| reply.sse.data("[2]").control("2", closed: true).finish }
    expect(read_all).to eq([1, 2])
    first, second = faults.requests.map(&:time)
    expect(second - first).to be_between(0.25, AtOnce::SECONDS)
  end

  it "are requested again after the policy's longest delay at most if the time in `retry:` is hours" do
    next_events { |reply| reply.sse.chunk("retry: 99999999\n\n").data("[1]").control("1").rst }
    next_events { |reply| reply.sse.data("[2]").control("2", closed: true).finish }
    expect(read_all).to eq([1, 2]) # Bounded by the policy's max_delay.
  end

  it "end at streamClosed, whether it arrives alone or in one chunk with the data" do
    all = "event: data\ndata: [1]\n\nevent: control\ndata: {\"streamNextOffset\":\"1\",\"streamClosed\":true}\n\n"
    next_events { |reply| reply.sse.chunk(all).hang }
    expect(read_all).to eq([1])
    next_events { |reply| reply.sse.data("[1]").control("1").control("1", closed: true).hang }
    reader = fault_stream.read_json(live: :sse)
    expect(reader.each.to_a).to eq([1])
    expect(reader).to have_attributes(stream_closed?: true, up_to_date?: true, next_offset: "1")
    expect(faults.requests.size).to eq(2)
  end

  it "may have several data events before one control event, comments, unknown events and empty arrays" do
    next_events do |reply|
      reply.sse.chunk("\uFEFF: hello\n\n").data("[1]").data("[]").event("news", "x").data("[2,\r\n3]")
      reply.control("3", closed: true).finish
    end
    batches = stream.read(live: :sse).to_a
    expect(batches.map(&:items)).to eq([[1, 2, 3]])
    expect(batches.map(&:next_offset)).to eq(["3"])
  end

  it "may arrive byte by byte, with any line ending" do
    ["\n", "\r\n", "\r"].each do |line_end|
      text = "event: data\ndata: [\"é\",\ndata: \"\u{1F600}\"]\n\nevent: control\n" \
             "data: {\"streamNextOffset\":\"1\",\"streamClosed\":true}\n\n"
      next_events { |reply| reply.sse.chunk(text.gsub("\n", line_end), size: 1).finish }
      expect(fault_stream.read_json(live: :sse).each.to_a).to eq(["é", "\u{1F600}"])
    end
  end

  it "may carry bytes as base64" do
    bytes = (0..255).map(&:chr).join.b
    next_events { |reply| reply.sse(base64: true).data([bytes].pack("m")).control("1", closed: true).finish }
    expect(fault_stream(type: :bytes).read(live: :sse).map(&:data)).to eq([bytes])
  end

  {
    "a control event that is not JSON" => ->(reply) { reply.sse.event("control", "{nope") },
    "a control event without an offset" => ->(reply) { reply.sse.event("control", "{}") },
    "an empty control event" => ->(reply) { reply.sse.event("control", "") },
    "invalid base64" => ->(reply) { reply.sse(base64: true).data("&&&").control("1") },
    "data that is not JSON" => ->(reply) { reply.sse.data("[1").control("1") },
    "data that is not an array" => ->(reply) { reply.sse.data("{}").control("1") }
  }.each do |what, script|
    it "raise ParseError at once for #{what}" do
      next_events { |reply| script.call(reply).hang }
      expect { read_all }.to raise_error(DurableStreams::ParseError, /#{faults.url("/s")}/)
      expect(faults.requests.size).to eq(1)
    end
  end

  it "raise ParseError for a line longer than max_message_bytes" do
    next_events { |reply| reply.sse.chunk("event: data\ndata: [\"").chunk("x" * 100_000).hang }
    limited = fault_stream(max_message_bytes: 10_000)
    expect { limited.read_json(live: :sse).to_a }
      .to raise_error(DurableStreams::ParseError, /larger than the limit of 10000 bytes/)
  end

  it "raise ParseError for data events larger than max_message_bytes without a control event" do
    limited = fault_stream(max_message_bytes: 10_000)
    ["[\"#{"x" * 1000}\"]", "[]"].each do |payload|
      next_events { |reply| reply.sse.data(payload).chunk("event: data\ndata: #{payload}\n\n" * 500).hang }
      expect { limited.read_json(live: :sse).to_a }
        .to raise_error(DurableStreams::ParseError, /without a control event.* limit of 10000 bytes \(max_message/)
    end
    # With a control event after each, the same events are read.
    next_events do |reply|
      reply.sse
      500.times { |n| reply.data("[#{n}]").control((n + 1).to_s.rjust(3, "0"), closed: n == 499) }
      reply.finish
    end
    expect(limited.read_json(live: :sse).each.to_a).to eq((0..499).to_a)
  end

  it "may have a very long line" do # The decoder's own tests check that this takes linear time.
    size = 20_000_000
    next_events { |reply| reply.sse.data("[\"#{"x" * size}\"]").control("1", closed: true).finish }
    expect(read_all.first.size).to eq(size)
  end

  it "give the items of a large event while it arrives" do
    items = (0...50_000).to_a
    next_events { |reply| reply.sse.chunk("event: data\ndata: #{items.to_json[0..-2]}").hang }
    expect(stream.read_json(live: :sse).each.first(40_000)).to eq(items.first(40_000))
  end

  it "give each item of a large event once if the connection breaks off within it" do
    items = (0...50_000).to_a
    text = items.to_json
    [100_000, 200_000].each do |size|
      next_events do |reply|
        reply.sse.chunk("event: data\ndata: #{text[0, size]}").rst
      end
    end
    next_events { |reply| reply.sse.data(text).control("1", closed: true).finish }
    batches = stream.read(live: :sse).to_a
    expect(batches.map(&:items)).to eq([items])
    expect(faults.requests.map { |request| request.params["offset"] }).to eq(%w[-1 -1 -1])
  end

  it "are requested again after live_timeout seconds of silence, without losing data" do
    faults.on("GET", nil, query: { "offset" => "-1" }) do |reply|
      reply.sse.data("[1]").control("1", up_to_date: true).data("[2]").hang
    end
    faults.on("GET", nil, query: { "offset" => "1" }) do |reply|
      reply.sse.data("[2]").control("2", closed: true).finish
    end
    hasty = fault_stream(live_timeout: 0.1, retries: { max_retries: 0 })
    expect(hasty.read_json(live: :sse).each.to_a).to eq([1, 2])
    expect(faults.wait_until_closed(1)).to eq(:fin)
    expect(faults.requests.last.params["offset"]).to eq("1")
  end

  it "count as failed if they never begin" do
    faults.on("GET", nil, query: { "live" => "sse" }, &:hang)
    hasty = fault_stream(timeout: 0.5, live_timeout: 60, retries: { max_retries: 1, initial_delay: 0.001 })
    expect { hasty.read_json(live: :sse).each.to_a }
      .to raise_error(DurableStreams::TimeoutError, /within 0.5 s, the client's timeout .2 tries/)
  end

  it "are replaced by long-polls with live: :auto if they never begin" do
    faults.on("GET") { |reply| reply.read("[1]", next_offset: "1") }
    faults.on("GET", nil, query: { "live" => "sse" }, &:hang)
    faults.on("GET", nil, query: { "live" => "long-poll" }) do |reply|
      reply.read("[2]", next_offset: "2", closed: true)
    end
    hasty = fault_stream(timeout: 0.5, live_timeout: 60, retries: { max_retries: 0 })
    expect(hasty.read_json(live: :auto).to_a).to eq([1, 2])
  end

  it "differ from long-polls that never respond, which are requested again without limit" do
    faults.on("GET") { |reply| reply.read("[1]", next_offset: "1") }
    # More often than the policy allows failures. On a slow machine, catching up may use some of the policy's retries.
    4.times { faults.next("GET", nil, query: { "live" => "long-poll" }, &:hang) }
    faults.on(nil, nil, query: { "live" => "long-poll" }) { |reply| reply.read("[2]", next_offset: "2", closed: true) }
    hasty = fault_stream(timeout: 0.5, live_timeout: 0.05, retries: { max_retries: 3, initial_delay: 0.001 })
    expect(hasty.read_json(live: :long_poll).each.to_a).to eq([1, 2])
  end

  it "are not requested again while comments arrive" do
    next_events do |reply|
      reply.sse
      8.times { reply.chunk(": alive\n").delay(0.25) }
      reply.data("[1]").control("1", closed: true).finish
    end
    expect(fault_stream(live_timeout: 1.5).read_json(live: :sse).each.to_a).to eq([1])
    expect(faults.requests.size).to eq(1)
  end

  describe "that end with an error event" do
    # Scripts an event stream with one message, which an error event ends.
    def next_error(code, offset: "1")
      next_events do |reply|
        reply.sse.data("[#{offset}]").control(offset).data("[9]")
        reply.event("error", JSON.generate(error: { code: code, message: "the reason" })).finish
      end
    end

    {
      "UNAUTHORIZED" => [DurableStreams::UnauthorizedError, 401],
      "STREAM_NOT_FOUND" => [DurableStreams::StreamNotFoundError, 404],
      "STREAM_GONE" => [DurableStreams::StreamGoneError, 410],
      "OFFSET_OUT_OF_RANGE" => [DurableStreams::BadRequestError, 400]
    }.each do |code, (error, status)|
      it "raise #{error.name} for #{code}" do
        next_error(code)
        items = []
        expect { stream.read_json(live: :sse) { |reader| reader.each { |item| items << item } } }
          .to raise_error(error, /#{code}: the reason/) { |raised| expect(raised.status).to eq(status) }
        expect(items).to eq([1])
        expect(faults.requests.size).to eq(1)
      end
    end

    it "are requested again for any other code" do
      next_error("NO_LEADER")
      next_events { |reply| reply.sse.event("error", "not JSON").finish }
      next_events { |reply| reply.sse.data("[2]").control("2", closed: true).finish }
      expect(read_all).to eq([1, 2])
      expect(faults.requests.map { |request| request.params["offset"] }).to eq(%w[-1 1 1])
    end

    it "raise FetchError with the code and the message after the policy's retries" do
      3.times { next_events { |reply| reply.sse.event("error", '{"error":{"code":"A","message":"b"}}').finish } }
      expect { read_all }.to raise_error(DurableStreams::FetchError, /reported an error: A: b/)
    end
  end

  describe "that the server does not support" do
    { "another type" => ->(reply) { reply.read("[]", next_offset: "1") }, "a 406" => ->(reply) { reply.respond(406) },
      "a 400" => ->(reply) { reply.respond(400) } }.each do |what, script|
      it "make live: :auto use long-poll (#{what})" do
        faults.on("GET") { |reply| reply.read("[1]", next_offset: "1") }
        faults.on("GET", nil, query: { "live" => "sse" }, &script)
        faults.on(nil, nil, query: { "live" => "long-poll" }) do |reply|
          reply.read("[2]", next_offset: "2", closed: true)
        end
        expect(read_all(live: :auto)).to eq([1, 2])
        expect(faults.requests.map { |request| request.params["live"] }).to eq([nil, "sse", "long-poll"])
      end
    end

    it "raise SSENotSupportedError with live: :sse" do
      faults.on("GET") { |reply| reply.read("[]", next_offset: "1") }
      expect { read_all }.to raise_error(DurableStreams::SSENotSupportedError, /not an event stream/)
    end
  end

  it "are not used for bytes by live: :auto" do
    faults.on("GET") { |reply| reply.read("a\r\n b", next_offset: "1", type: "application/octet-stream") }
    faults.on("GET", nil, query: { "live" => "long-poll" }) do |reply|
      reply.read("c", next_offset: "2", type: "application/octet-stream", closed: true)
    end
    expect(fault_stream(type: :bytes).read(live: :auto).map(&:data)).to eq(["a\r\n b", "c"])
  end

  it "are used for text by live: :auto" do
    faults.on("GET") { |reply| reply.read("a\r\n b", next_offset: "1", type: "text/plain") }
    faults.on("GET", nil, query: { "live" => "sse" }) do |reply|
      reply.sse(type: "text/plain").data("c").control("2", closed: true).finish
    end
    expect(fault_stream(type: :text).read(live: :auto).map(&:data)).to eq(["a\r\n b", "c"])
  end
end
