# frozen_string_literal: true

# A server that returns its messages one a line (NDJSON) may end a response anywhere: inside a message, inside a
# character. The messages have offsets in bytes; only those between two messages are places to start from.
RSpec.describe "Responses that end inside a message", :faults do
  let(:messages) { [1, { "name" => "日本" }, [2, [3]], "a \"b\"", 45, nil, "…" * 3] }
  let(:text) { messages.map { |message| "#{JSON.generate(message)}\n" }.join.b }
  let(:stream) { fault_stream }

  def offset(position)
    format("%04d", position)
  end

  # Scripts the stream, cut at these positions. `type:` as the server sends it.
  def serve(cuts, type: "application/x-ndjson", body: text)
    [0, *cuts, body.bytesize].uniq.each_cons(2) do |from, to|
      faults.on("GET", nil, query: { "offset" => from.zero? ? "-1" : offset(from) }) do |reply|
        at_end = to == body.bytesize
        reply.read(body.byteslice(from, to - from), next_offset: offset(to), type: type, up_to_date: at_end,
                                                    closed: at_end)
      end
    end
  end

  # A response with NDJSON.
  def read(reply, body, position, **more)
    reply.read(body, next_offset: offset(position), type: "application/x-ndjson", **more)
  end

  # How many messages lie before an offset. Fails inside a message.
  def messages_before(offset)
    position = offset == "-1" ? 0 : Integer(offset, 10)
    before = text.byteslice(0, position)
    JSON.parse("[#{before.lines.map(&:chomp).join(",")}]").size
  end

  it "are read as one, wherever they end" do
    (1...text.bytesize).each do |cut|
      faults.reset
      stream = fault_stream
      serve([cut])
      expect(stream.read_json.to_a).to eq(messages)
      batches = stream.read.to_a
      expect(batches.flat_map(&:items)).to eq(messages)
      expect(batches.map { |batch| messages_before(batch.next_offset) }.last).to eq(messages.size)
    end
  end

  it "never give a position from which a new reader would miss or repeat a message" do
    serve((1...text.bytesize).select { |position| (position % 3).zero? })
    faults.on("GET", nil, query: { "offset" => offset(text.bytesize) }) do |reply|
      read(reply, "", text.bytesize, closed: true)
    end
    seen = 0
    stream.read.each do |batch|
      seen += batch.items.size
      expect(messages_before(batch.next_offset)).to eq(seen)
      expect(stream.read_json(offset: batch.next_offset).to_a).to eq(messages.drop(seen))
    end
    expect(seen).to eq(messages.size)
  end

  it "are one batch until one ends with a message, while items come at once" do
    serve([4, 10])
    expect(stream.read.map(&:next_offset)).to eq([offset(text.bytesize)])
    reader = stream.read_json
    expect(reader.first).to eq(1)
    expect(reader.next_offset).to eq("-1")
  end

  it "neither miss nor repeat a message after `break`, `first` and `next`" do
    serve([4, 10, 22, 30])
    reader = stream.read_json
    taken = reader.first(2)
    reader.each do |item|
      taken << item
      break if taken.size == 3
    end
    2.times { taken << reader.next }
    expect(taken + reader.to_a).to eq(messages)
    expect(messages_before(reader.next_offset)).to eq(messages.size)
  end

  it "are read again from the last complete response if one breaks off inside a message" do
    serve([4, 30])
    faults.next("GET", nil, query: { "offset" => offset(4) }) do |reply|
      reply.head("content-type" => "application/x-ndjson", "stream-next-offset" => offset(30))
      reply.chunk(text.byteslice(4, 22)).rst
    end
    expect(stream.read_json.to_a).to eq(messages)
    offsets = faults.requests.map { |request| request.params["offset"] }
    expect(offsets).to eq(["-1", offset(4), offset(4), offset(30)])
  end

  it "may have another JSON type, whose arrays are flattened" do
    body = "[1,[2]] {\"é\":3}[4]".b
    (1...body.bytesize).each do |cut|
      faults.reset
      serve([cut], type: "application/vnd.x+json", body: body)
      expect(fault_stream.read_json.to_a).to eq([1, [2], { "é" => 3 }, 4])
    end
  end

  it "raise ParseError if the message is still incomplete at the tail" do
    faults.on("GET", nil, query: { "offset" => "-1" }) { |reply| read(reply, "1\n[2", 4, up_to_date: false) }
    faults.on("GET", nil, query: { "offset" => offset(4) }) { |reply| read(reply, "", 4) }
    reader = stream.read_json
    expect(reader.first).to eq(1)
    expect { reader.to_a }.to raise_error(DurableStreams::ParseError, /ends in the middle/)
    expect(reader.next_offset).to eq("-1")
  end

  it "are passed on as they are to a reader of bytes" do
    serve([4, 10])
    chunks = stream.read_bytes.to_a
    expect(chunks.map(&:data).join).to eq(text)
    expect(chunks.map(&:next_offset)).to eq([offset(4), offset(10), offset(text.bytesize)])
  end

  it "go on live when the stream grows" do
    faults.on("GET", nil, query: { "offset" => "-1" }) { |reply| read(reply, "1\n", 2) }
    faults.on("GET", nil, query: { "offset" => offset(2) }) { |reply| read(reply, "[2", 4, up_to_date: false) }
    faults.on("GET", nil, query: { "offset" => offset(4) }) { |reply| read(reply, "]\n3\n", 8, closed: true) }
    batches = stream.read(live: :long_poll).to_a
    expect(batches.map(&:items)).to eq([[1], [[2], 3]])
    expect(batches.map(&:next_offset)).to eq([offset(2), offset(8)])
  end

  it "are events whose data go on in the next event, also after a reconnect" do
    faults.next("GET", nil, query: { "live" => "sse", "offset" => "-1" }) do |reply|
      reply.sse(type: "application/x-ndjson").data("1\n[2]\n").control("6").data("{\"a\":").control("11").rst
    end
    faults.next("GET", nil, query: { "live" => "sse", "offset" => "11" }) do |reply|
      reply.sse(type: "application/x-ndjson").data("3").data("}\n4\n").control("16", closed: true).finish
    end
    batches = stream.read(live: :sse).to_a
    expect(batches.map(&:items)).to eq([[1, [2]], [{ "a" => 3 }, 4]])
    expect(batches.map(&:next_offset)).to eq(%w[6 16])
  end

  # A proxy that has no length from the server, as in HTTP/1.0, cannot tell a lost connection from the body's end.
  it "are requested again by a live read if they are arrays, which no server cuts" do
    faults.next("GET") { |reply| reply.read("[1,2,[3", next_offset: "9") }
    faults.on("GET") { |reply| reply.read("[1,2,[3],4]", next_offset: "9", closed: true) }
    expect(stream.read_json(live: :long_poll).to_a).to eq([1, 2, [3], 4])
    faults.on("GET") { |reply| reply.read("[1,2,[3", next_offset: "9") }
    expect { stream.read_json(live: :long_poll).to_a }
      .to raise_error(DurableStreams::ConnectionError, /the response broke off: .* in the middle of its JSON/)
    expect { stream.read_json.to_a }.to raise_error(DurableStreams::ParseError, /in the middle of its JSON/)
  end
end
