# frozen_string_literal: true

# Every way to read while networks and servers damage responses: no data is lost, and none is read twice.
RSpec.describe "Reads through faults", :faults do
  # Faults of any response.
  any = {
    "dropped before the request is read" => ->(reply) { reply.fin },
    "reset after the request was read" => ->(reply) { reply.rst },
    "dropped within its head" => ->(reply) { reply.raw("HTTP/1.1 200 OK\r\nContent-Ty").fin },
    "reset within its head" => ->(reply) { reply.raw("HTTP/1.1 200 OK\r\nContent-Ty").rst },
    "not HTTP" => ->(reply) { reply.raw("220 mail.example ESMTP\r\n\r\n").fin },
    "a 503" => ->(reply) { reply.respond(503, "later") },
    "a 429 with Retry-After" => ->(reply) { reply.retry_after(0) },
    "a 502 with a truncated body" => ->(reply) { reply.respond(502, "ba", length: 9).fin }
  }

  # Faults of a response with a whole body.
  whole = {
    "shorter than its Content-Length" => lambda do |reply, body, headers|
      reply.respond(200, body.chop, length: body.bytesize, **headers).fin
    end,
    "reset in the middle of its body" => lambda do |reply, body, headers|
      reply.respond(200, body[0, 2], length: body.bytesize, **headers).rst
    end,
    "without the end of its chunks" => ->(reply, body, headers) { reply.head(200, **headers).chunk(body).fin },
    "closed within a chunk" => ->(reply, _, headers) { reply.head(200, **headers).raw("5\r\n[1").fin }
  }

  # Faults of a response with events.
  events = {
    "dropped between data and control" => ->(reply, data) { reply.sse.data(data).fin },
    "reset between data and control" => ->(reply, data) { reply.sse.data(data).rst },
    "closed in order between data and control" => ->(reply, data) { reply.sse.data(data).finish },
    "dropped within an event" => ->(reply, _) { reply.sse.chunk("event: data\ndata: [").fin },
    "reset within a control event" => lambda do |reply, data|
      reply.sse.data(data).chunk("event: control\ndata: {\"streamNextOffset\":\"2\"").rst
    end
  }

  FaultReads::MODES.each do |mode|
    describe "live: :#{mode}" do
      before { serve_numbers_for(mode) }

      FaultReads::SHAPES.each do |shape|
        any.each do |fault, script|
          it "reads #{shape.name} when the first response, then the second, is #{fault}" do
            [FaultReads::FIRST, FaultReads::SECOND].each do |queries|
              faults.next("GET", nil, query: queries[mode], &script)
            end
            expect(shape.read.call(fault_stream, mode)).to eq(shape.whole)
            expect(faults.requests.size).to eq(4)
          end
        end

        it "reads #{shape.name} when responses arrive byte by byte" do
          faults.on("GET", nil, query: { "offset" => "-1", "live" => nil }) do |reply|
            reply.pieces(1).read("[1,2]", next_offset: "2", up_to_date: mode != :off)
          end
          faults.on("GET", nil, query: FaultReads::SECOND[:sse]) do |reply|
            reply.pieces(1).sse.data("[3]").control("3", closed: true).finish
          end
          expect(shape.read.call(fault_stream, mode)).to eq(shape.whole)
        end

        unless mode == :sse
          whole.each do |fault, script|
            it "reads #{shape.name} when the first response is #{fault}" do
              faults.next("GET", nil, query: FaultReads::FIRST[mode]) do |reply|
                script.call(reply, "[1,2]", read_headers("2"))
              end
              expect(shape.read.call(fault_stream, mode)).to eq(shape.whole)
            end
          end
        end

        next unless %i[sse auto].include?(mode)

        events.each do |fault, script|
          it "reads #{shape.name} when the event stream is #{fault}" do
            faults.next("GET", nil, query: FaultReads::SECOND[mode]) { |reply| script.call(reply, "[3]") }
            expect(shape.read.call(fault_stream, mode)).to eq(shape.whole)
          end
        end
      end

      %i[fin rst].each do |how|
        it "continues wherever the first response is cut (#{how})" do
          (30..300).step(5) do |cut|
            faults.next("GET", nil, query: FaultReads::FIRST[mode]) do |reply|
              reply.cut(after: cut, with: how)
              next reply.sse.data("[1,2]").control("2").fin if mode == :sse

              reply.read("[1,2]", next_offset: "2", up_to_date: mode != :off).fin
            end
          end
          stream = fault_stream(retries: { max_retries: 1000, initial_delay: 0.001, max_delay: 0.001 })
          expect(stream.read_json(live: mode).each.to_a).to eq([1, 2, 3])
          expect(faults.requests.size).to be > 15
        end
      end

      it "retries while connections are refused" do
        stream = fault_stream(retries: { max_retries: 1000, initial_delay: 0.005, max_delay: 0.01 })
        faults.refuse_connections
        reading = in_thread { stream.read_json(live: mode).each.to_a }
        expect(reading.join(0.05)).to be_nil
        faults.accept_connections
        expect(reading.value).to eq([1, 2, 3])
      end

      it "raises ConnectionError when connections are still refused after the retries" do
        faults.refuse_connections
        expect { fault_stream.read_json(live: mode).first }.to raise_error(DurableStreams::ConnectionError, /refused/i)
      end

      it "raises ParseError for invalid JSON, without a retry" do
        faults.next("GET", nil, query: FaultReads::FIRST[mode]) do |reply|
          mode == :sse ? reply.sse.data("[1,}").control("2").finish : reply.read("[1,}", next_offset: "2")
        end
        expect { fault_stream.read_json(live: mode).to_a }
          .to raise_error(DurableStreams::ParseError) { |error| expect(error.message).to include(faults.url("/s")) }
        expect(faults.requests.size).to eq(1)
      end

      it "raises FetchError for data without a new offset, which would be read forever" do
        faults.on("GET", nil, query: FaultReads::FIRST[mode]) do |reply|
          mode == :sse ? reply.sse.data("[1]").control("-1").finish : reply.read("[1]", next_offset: "-1")
        end
        %i[read_json read_bytes].each do |read|
          expect { fault_stream.public_send(read, live: mode).to_a }
            .to raise_error(DurableStreams::FetchError, /no new Stream-Next-Offset/)
        end
      end
    end
  end

  describe "the count of failures" do
    let(:stream) { fault_stream(retries: { max_retries: 2, initial_delay: 0.001 }) }

    it "starts again from zero after progress, in every mode" do
      FaultReads::MODES.each do |mode|
        faults.reset
        8.times do |n|
          offset = n.zero? ? "-1" : n.to_s
          faults.on("GET", nil, query: { "offset" => offset }, times: 2) { |reply| reply.respond(500) }
          faults.on("GET", nil, query: { "offset" => offset }) do |reply|
            reply.read("[#{n}]", next_offset: (n + 1).to_s, up_to_date: mode != :off, closed: n == 7)
          end
          faults.on("GET", nil, query: { "offset" => offset, "live" => "sse" }) do |reply|
            reply.sse.data("[#{n}]").control((n + 1).to_s, closed: n == 7).finish
          end
        end
        expect(fault_stream.read_json(live: mode).each.to_a).to eq((0..7).to_a)
      end
    end

    it "starts again from zero after every new part of a body" do
      rest = (0...9).to_a
      9.times do |n|
        faults.next("GET") { |reply| reply.head(200, **read_headers("9")).chunk("[#{rest[0..n].join(",")},").rst }
      end
      faults.on("GET") { |reply| reply.read("[#{rest.join(",")}]", next_offset: "9") }
      expect(stream.read_json.each.to_a).to eq(rest)
    end

    it "is followed by a pause of at least a millisecond, even with a smaller delay in the policy" do
      faults.on("GET") { |reply| reply.respond(503) }
      eager = fault_stream(retries: { max_retries: 10, initial_delay: 1e-9, max_delay: 1e-9 })
      expect { eager.read_json.first }.to raise_error(DurableStreams::FetchError)
      times = faults.requests.map(&:time)
      expect(times.each_cons(2).map { |a, b| b - a }).to all(be >= 0.001)
      expect(times.size).to eq(11)
    end
  end

  describe "responses without data" do
    it "are failed tries if the offset does not move and they are not up to date" do
      faults.on("GET") { |reply| reply.read("[]", next_offset: "-1", up_to_date: false) }
      %i[read_json read_bytes].each do |read|
        expect { fault_stream.public_send(read).each(&:itself) }
          .to raise_error(DurableStreams::FetchError, /no data and the same offset/)
      end
      expect(faults.requests.size).to eq(6)
    end

    it "are requested again after the policy's pause if the offset does not move and they are not up to date" do
      2.times { faults.next("GET") { |reply| reply.read("", next_offset: "5", up_to_date: false) } }
      faults.on("GET") { |reply| reply.read("[1]", next_offset: "6") }
      slow = fault_stream(retries: { max_retries: 1, initial_delay: 0.2, max_delay: 0.2 })
      expect(slow.read_json(offset: "4").to_a).to eq([1])
      expect(faults.requests.map { |request| request.params["offset"] }).to eq(%w[4 5 5])
    end

    it "are requested a few times a second if they are up to date" do
      faults.on("GET") { |reply| reply.read("[]", next_offset: "-1") }
      in_thread { fault_stream.read_json(live: :long_poll).each(&:itself) }
      faults.wait_for_request(10)
      # A poll that takes long because the machine is slow counts as one that the server delayed. Some fast polls may
      # follow it.
      spans = faults.requests.map(&:time).each_cons(8).map { |times| times.last - times.first }
      expect(spans).to all(be >= 0.25)
    end

    # Responds as two stale caches with different contents do.
    def serve_alternating_offsets(up_to_date:)
      { "-1" => "5", "5" => "6", "6" => "5" }.each do |offset, next_offset|
        faults.on("GET", nil, query: { "offset" => offset }) do |reply|
          reply.read("[]", next_offset: next_offset, up_to_date: up_to_date)
        end
        faults.on("GET", nil, query: { "offset" => offset, "live" => "sse" }) do |reply|
          reply.sse.control(next_offset, up_to_date: up_to_date).finish
        end
      end
    end

    [[:off, false], [:long_poll, false], [:long_poll, true], [:sse, false], [:sse, true], [:auto, true]]
      .each do |mode, up_to_date|
        it "do not count as progress if their offsets alternate (live: :#{mode}, up to date: #{up_to_date})" do
          serve_alternating_offsets(up_to_date: up_to_date)
          reader = fault_stream.read_json(live: mode)
          expect { reader.each(&:itself) }.to raise_error(DurableStreams::DurableStreamError, /#{faults.url("/s")}/)
          expect(faults.requests.size).to be <= 10
        end
      end

    it "do not move a read to an earlier offset, and raise if they all have one" do
      faults.on("GET") { |reply| reply.read("[]", next_offset: "4") }
      reader = fault_stream.read(offset: "5", live: :long_poll)
      faults.next("GET", nil, query: { "live" => nil }) { |reply| reply.read("[]", next_offset: "5") }
      expect { reader.each(&:itself) }.to raise_error(DurableStreams::FetchError, /an offset before "5"/)
      expect(reader.next_offset).to eq("5")
      expect(faults.requests.map { |request| request.params["offset"] }.uniq).to eq(["5"])
    end

    it "do not move a read by events to an earlier offset either" do
      faults.on("GET") { |reply| reply.sse.control("4", up_to_date: true).data("[4]").control("5").hang }
      reader = fault_stream.read(offset: "5", live: :sse)
      expect { reader.each(&:itself) }.to raise_error(DurableStreams::FetchError, /an offset before "5"/)
      expect([reader.next_offset, faults.requests.size]).to eq(["5", 3])
    end

    it "are no batch if they neither move nor say that there is no more" do
      faults.next { |reply| reply.read("[]", next_offset: "5", up_to_date: false) }
      faults.next { |reply| reply.read("[1]", next_offset: "6") }
      expect(fault_stream.read(offset: "5").map(&:items)).to eq([[1]])
    end

    it "do not move a read past data that a server leaves out when a long-poll times out" do
      faults.next { |reply| reply.read("[0]", next_offset: "1") }
      faults.next { |reply| reply.read("", status: 204, next_offset: "3", closed: true) }
      faults.next { |reply| reply.read("[1,2]", next_offset: "3", closed: true) }
      # No empty batch between them: it would say that the reader is up to date.
      expect(fault_stream.read(live: :long_poll).map(&:items)).to eq([[0], [1, 2]])
      expect(faults.requests.map { |request| request.params.values_at("offset", "live") })
        .to eq([["-1", nil], %w[1 long-poll], ["1", nil]])
    end

    it "are not an error if their offset moves, because a server may skip deleted data" do
      6.times do |n|
        faults.on("GET", nil, query: { "offset" => n.zero? ? "-1" : n.to_s }) do |reply|
          reply.read("[]", next_offset: (n + 1).to_s, up_to_date: false)
        end
      end
      faults.on("GET", nil, query: { "offset" => "6" }) { |reply| reply.read("[1]", next_offset: "7") }
      stream = fault_stream(retries: { max_retries: 0 })
      expect(timed { expect(stream.read_json.each.to_a).to eq([1]) }).to be >= 0.5
    end

    it "do not count as progress if event streams end at once again and again" do
      faults.on("GET") { |reply| reply.sse.control("-1", up_to_date: true).finish }
      expect { fault_stream.read_json(live: :sse).to_a }
        .to raise_error(DurableStreams::ConnectionError, /event stream ended at once/)
      # There are more if the machine is so slow that one of them did not end at once.
      expect(faults.requests.size).to be >= 3
    end
  end

  describe "responses that end before the position, as of a stream that was deleted and created again" do
    { "empty" => "[]", "with data" => "[7]", "without a body" => "" }.each do |what, body|
      FaultReads::MODES.each do |mode|
        it "are not taken for the stream's, and raise if there is nothing else (#{what}, live: :#{mode})" do
          faults.on("GET") { |reply| reply.read(body, next_offset: "4", closed: true) }
          faults.on("GET", nil, query: { "live" => "sse" }) do |reply|
            reply.sse.data(body.empty? ? "[]" : body).control("4", closed: true).finish
          end
          reader = fault_stream.read_json(offset: "5", live: mode)
          items = []
          expect { reader.each { |item| items << item } }.to raise_error(DurableStreams::FetchError, /created again/)
          expect([items, reader.next_offset, reader.stream_closed?]).to eq([[], "5", false])
        end
      end
    end

    it "are only an outage if they come from a server that lags behind" do
      faults.next("GET") { |reply| reply.read("[4]", next_offset: "4") }
      faults.on("GET") { |reply| reply.read("[6]", next_offset: "6") }
      expect(fault_stream.read_json(offset: "5").to_a).to eq([6])
    end
  end

  describe "an error" do
    FaultReads::MODES.each do |mode|
      it "leaves the reader usable at its position (live: :#{mode})" do
        serve_numbers_for(mode)
        faults.on("GET", nil, query: FaultReads::SECOND[mode], times: 3) { |reply| reply.respond(500) }
        reader = fault_stream.read_json(live: mode)
        seen = []
        expect { reader.each { |item| seen << item } }.to raise_error(DurableStreams::FetchError)
        expect([seen, reader.next_offset, reader.closed?]).to eq([[1, 2], "2", false])
        # A live read that starts again catches up first.
        faults.on("GET", nil, query: { "offset" => "2", "live" => nil }) { |reply| reply.read("[3]", next_offset: "3") }
        expect(reader.first(1)).to eq([3])
      end
    end

    it "on a pooled connection affects no other request" do
      faults.on("GET") { |reply| reply.head(200, **read_headers("9")).chunk("[1,2").hang }
      faults.on("HEAD") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      stream = fault_stream
      5.times do
        expect(stream.read_json.first).to eq(1)
        expect(stream.head.next_offset).to eq("7")
      end
    end
  end

  describe "a lost connection in the middle of a body after items were handed out" do
    let(:items) { (1..50).to_a }
    let(:body) { "[#{items.join(",")}]" }

    # Scripts the next response: `sent` bytes of the body, then the steps of the block.
    def truncate(sent)
      faults.next("GET") do |reply|
        yield reply.respond(200, body[0, sent], length: body.size, **read_headers("50"))
      end
    end

    it "neither loses nor repeats items, with first and then each" do
      [10, 40, 100].each do |sent|
        faults.reset
        truncate(sent) { |reply| reply.wait(:go).rst }
        faults.on("GET") { |reply| reply.read(body, next_offset: "50") }
        reader = fault_stream.read_json
        first = reader.first(2)
        faults.open(:go)
        expect(first + reader.to_a).to eq(items)
        expect(reader.next_offset).to eq("50")
      end
    end

    it "neither loses nor repeats items within one iteration" do
      truncate(60) { |reply| reply.wait(:go).rst }
      faults.on("GET") { |reply| reply.read(body, next_offset: "50") }
      seen = []
      fault_stream.read_json.each do |item|
        seen << item
        faults.open(:go) if item == 3
      end
      expect(seen).to eq(items)
    end

    it "neither loses nor repeats bytes of copy_to" do
      truncate(60, &:rst)
      faults.on("GET") { |reply| reply.pieces(7).read(body, next_offset: "50") }
      io = StringIO.new
      expect(fault_stream.read_bytes.copy_to(io)).to eq(body.size)
      expect(io.string).to eq(body)
    end

    it "neither loses nor repeats bytes of a large response whose memory was allocated in advance" do
      large = Random.new(7).bytes(12 << 20)
      faults.next("GET") do |reply|
        reply.respond(200, large[0, 9 << 20], length: large.bytesize, **read_headers("50")).rst
      end
      faults.on("GET") { |reply| reply.respond(200, large, length: large.bytesize, **read_headers("50")) }
      reader = fault_stream.read_bytes
      expect(reader.next.data == large).to be(true)
      expect(reader.next_offset).to eq("50")
    end

    it "does not allocate the memory for a huge Content-Length" do
      faults.on("GET") do |reply|
        reply.respond(200, body, length: 1 << 50, **read_headers("50")).fin
      end
      reader = fault_stream.read_bytes
      expect { reader.next }.to raise_error(DurableStreams::ConnectionError, /broke off/)
    end

    it "raises ConnectionError after the last retry" do
      faults.on("GET") { |reply| reply.respond(200, body[0, 60], length: body.size, **read_headers("50")).fin }
      seen = []
      expect { fault_stream.read_json.each { |item| seen << item } }.to raise_error(DurableStreams::ConnectionError)
      expect(seen).to eq(items.first(seen.size))
      expect { fault_stream.read_bytes.body }.to raise_error(DurableStreams::ConnectionError, /broke off/)
    end
  end
end
