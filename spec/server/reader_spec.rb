# frozen_string_literal: true

require "stringio"
require "timeout"

on_each_server DurableStreams::Reader do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:json) { client.create(unique_path, content_type: :json) }
  let(:text) { client.create(unique_path, content_type: :text) }
  let(:bytes) { client.create(unique_path, content_type: :bytes) }

  after { client.close }

  # Runs the block in a new thread, which is killed after the example. `pop` returns what the block puts into the
  # queue, or raises what it raised.
  def in_background
    queue = Thread::Queue.new
    thread = Thread.new do
      yield queue
    rescue StandardError => e
      queue << e
    end
    (@threads ||= []) << thread
    [thread, queue]
  end

  after { (@threads || []).each { |thread| thread.kill.join } }

  def pop(queue)
    value = Timeout.timeout(60) { queue.pop }
    value.is_a?(Exception) ? raise(value) : value
  end

  describe "catching up" do
    before { 3.times { |n| json << { "n" => n } } }

    it "yields batches from read and items from read_json, and ends" do
      expect(json.read.flat_map(&:items)).to eq([{ "n" => 0 }, { "n" => 1 }, { "n" => 2 }])
      expect(json.read_json.map { |item| item["n"] }).to eq([0, 1, 2])
      expect(json.read_all).to eq(json.each.to_a).and eq(json.read_json.to_a)
    end

    it "ends up to date at the stream's end" do
      reader = json.read
      expect(reader.to_a.last).to be_up_to_date
      expect(reader).to have_attributes(up_to_date?: true, up_to_date: true, stream_closed?: false, status: 200,
                                        next_offset: json.head.offset)
    end

    it "continues from a saved offset without missing or repeating anything" do
      checkpoint = json.read.map(&:offset).last
      json << { "n" => 3 }
      expect(json.read(offset: checkpoint).flat_map(&:items)).to eq([{ "n" => 3 }])
      expect(json.read_json(offset: checkpoint).to_a).to eq([{ "n" => 3 }])
    end

    it "starts at the beginning for nil, the empty String and -1, and at the end for now" do
      readers = [nil, "", "-1"].zip([nil, false, :off]).map { |from, live| json.read_json(offset: from, live: live) }
      expect(readers.map(&:next_offset)).to all(eq("-1"))
      expect(readers.map(&:count)).to eq([3, 3, 3])
      reader = json.read_json(offset: "now")
      expect(reader.to_a).to eq([])
      expect(reader.next_offset).to eq(json.head.offset)
    end

    it "continues in a second iteration" do
      reader = json.read_json
      expect(reader.first(2)).to eq([{ "n" => 0 }, { "n" => 1 }])
      expect(reader.to_a).to eq([{ "n" => 2 }])
      json << { "n" => 3 }
      expect(reader.to_a).to eq([{ "n" => 3 }])
    end

    it "yields one empty batch for an empty stream" do
      empty = client.create(unique_path, content_type: :json)
      expect(empty.read.map { |batch| [batch.items, batch.up_to_date?] }).to eq([[[], true]])
      expect(empty.read_json.to_a).to eq([])
    end

    it "closes the reader after a block and returns the block's value" do
      saved = nil
      expect(json.read { |reader| (saved = reader).count }).to eq(1)
      expect(saved).to be_closed
      expect(json.read_json { |reader| (saved = reader).first["n"] }).to eq(0)
      expect(saved).to be_closed
      expect { json.read { |reader| (saved = reader) && raise("no") } }.to raise_error("no")
      expect(saved).to be_closed
    end

    it "supports lazy and external enumeration" do
      expect(json.read_json.lazy.map { |item| item["n"] }.select(&:even?).first(2)).to eq([0, 2])
      enumerator = json.read_json.each
      expect([enumerator.next, enumerator.peek, enumerator.next]).to eq([{ "n" => 0 }, { "n" => 1 }, { "n" => 1 }])
      reader = json.read_json
      expect([reader.peek, reader.next, reader.next, reader.next].map { |item| item["n"] }).to eq([0, 0, 1, 2])
      expect { reader.next }.to raise_error(StopIteration)
    end

    it "raises StreamNotFoundError if the stream does not exist" do
      missing = client.stream(unique_path)
      expect { missing.read }.to raise_error(DurableStreams::StreamNotFoundError)
      expect { missing.read_json.to_a }.to raise_error(DurableStreams::StreamNotFoundError)
    end

    it "rejects invalid options before it sends a request" do
      missing = client.stream(unique_path)
      expect { missing.read(live: :websocket) }
        .to raise_error(ArgumentError, /:off.*:long_poll, :sse or :auto.*got :websocket/)
      expect { missing.read(live: "sse") }.to raise_error(ArgumentError, /live/)
      expect { missing.read(offset: {}) }.to raise_error(ArgumentError, /offset must be a String.*, got Hash/)
      expect { missing.read(cursor: 7) }.to raise_error(ArgumentError, /cursor must be a String, got Integer/)
      expect { missing.read(format: :xml) }.to raise_error(ArgumentError, /format must be :auto, :json or :bytes/)
    end

    it "raises BadRequestError for an invalid offset" do
      expect { json.read(offset: "nonsense").to_a }.to raise_error(DurableStreams::BadRequestError) { |error|
        expect(error).to have_attributes(status: 400, code: "BAD_REQUEST", url: json.url)
      }
    end
  end

  describe "items" do
    documents = ["0", "-0", "-0.0", "1.0", "1e3", "1E-3", "1.5e300", "1e400", "123456789012345678901234567890",
                 "-9223372036854775809", "0.1234567890123456789", '""', '"é"', '"\\u00e9\\n\\/\\"\\\\"',
                 '"\\ud83d\\ude00"', '"\\u0000"', "[]", "{}", "[[],{}]", '{"":null}', "true", "null",
                 '{"é":"\\u00fc"}', "#{"[" * 98}#{"]" * 98}", ' { "a" : [ 1 , 2 ] } ', '{"a":1,"a":2}']

    it "equal those of JSON.parse" do
      documents.each { |document| json.append(document) }
      # The Node server stores messages as JavaScript formats them: 1.0 as 1, 1e400 as null.
      stored = server_kind == :node ? json.read_bytes.text : "[#{documents.join(",")}]"
      expected = JSON.parse(stored, max_nesting: 200, allow_duplicate_key: true)
      readings = [json.read_json, json.read.flat_map(&:items), json.read_json(live: :sse).first(documents.size)]
      readings.map(&:to_a).each do |items|
        expect(items.map(&:inspect)).to eq(expected.map(&:inspect))
        expect(items).to eq(expected)
        strings = items.grep(String)
        expect(strings.map(&:encoding)).to all(eq(Encoding::UTF_8))
        expect(strings.map(&:frozen?)).to all(be(false))
      end
    end

    it "arrive before the response is complete" do
      Array.new(4) { |part| json.append(Array.new(20_000) { |n| [part, n] }) } # four messages of 200 kB
      reader = json.read_json
      expect(reader.first.size).to eq(20_000)
      expect(reader.next_offset).to eq("-1")
      expect(reader.map(&:size)).to eq([20_000] * 3)
      expect(reader.next_offset).to eq(json.head.offset)
    end
  end

  describe "iteration as in the pure-Ruby client" do
    before { 2.times { |n| json << n } }

    it "is selected by format:" do
      expect(json.read(format: :auto).to_a).to eq([0, 1])
      expect(json.read(format: :json).each_batch.flat_map(&:items)).to eq([0, 1])
      expect(json.read(format: :bytes).map(&:data).join).to eq("[0,1]")
      text << "x"
      expect(text.read(format: :auto).map(&:data)).to eq(["x"])
    end

    it "is the iteration of DurableStreams.read" do
      expect(DurableStreams.read(json.url).to_a).to eq([0, 1])
      expect(DurableStreams.read(json.url) { |reader| reader.first }).to eq(0) # rubocop:disable Style/SymbolProc
    end

    it "is selected for all reads by each_yields" do
      context = DurableStreams.new_context do |config|
        config.base_url = server_url
        config.each_yields = :items
      end
      expect(DurableStreams.stream(json.url, context: context).read.to_a).to eq([0, 1])
    end
  end

  describe "bytes and text" do
    it "are yielded as chunks, binary or UTF-8" do
      bytes << "é\xFF".b
      text << "é"
      expect(bytes.read.first).to be_a(DurableStreams::ByteChunk)
        .and have_attributes(data: "é\xFF".b, up_to_date?: true, offset: bytes.head.offset)
      expect(bytes.read.first.data.encoding).to eq(Encoding::BINARY)
      expect(text.read.first.data).to eq("é").and have_attributes(encoding: Encoding::UTF_8)
      expect(text.read(live: :sse).first.data).to eq("é").and have_attributes(encoding: Encoding::UTF_8)
      expect(bytes.read(live: :sse).first.data).to eq("é\xFF".b)
    end

    { "é" => Encoding::UTF_8, "abc" => Encoding::UTF_8, "\xFF\xC3" => Encoding::BINARY, "" => Encoding::UTF_8 }
      .each do |content, encoding|
        it "are unfrozen Strings in #{encoding} for #{content.inspect} on a text stream, and binary on others" do
          text.append(content) unless content.empty?
          chunk = text.read.first.data
          expect(chunk.bytes).to eq(content.bytes)
          expect(chunk).to have_attributes(encoding: encoding, frozen?: false, ascii_only?: content.ascii_only?)
          bytes.append(content) unless content.empty?
          expect(bytes.read.first.data).to eq(content.b).and have_attributes(encoding: Encoding::BINARY, frozen?: false)
        end
      end

    it "are returned as a whole or copied to an IO" do
      bytes << "ab" << "\x00\xFF".b
      expect(bytes.read.body).to eq("ab\x00\xFF".b)
      io = StringIO.new(String.new(encoding: Encoding::BINARY))
      reader = bytes.read
      expect(reader.copy_to(io)).to eq(4)
      expect(io.string).to eq("ab\x00\xFF".b)
      expect(reader.next_offset).to eq(bytes.head.offset)
      text << "é"
      expect(text.read.copy_to(io)).to eq(2)
    end

    it "are read from JSON streams by read_bytes" do
      json << 1 << { "a" => 2 }
      expect(json.read_bytes.text).to eq('[1,{"a":2}]')
    end

    it "are an empty array at the end of a JSON stream" do
      json << 1
      tail = json.head.next_offset
      again = json.read_bytes.tap(&:body)
      readings = [json.read_bytes(offset: tail), json.read(offset: tail, format: :bytes), again]
      readings.each do |reader|
        expect(reader.map(&:data)).to eq(["[]"])
        expect(reader).to have_attributes(next_offset: tail, up_to_date?: true)
      end
      io = StringIO.new
      expect([readings[0].body, readings[1].copy_to(io), io.string]).to eq(["[]", 2, "[]"])
      json << 2
      expect(readings.map(&:body)).to eq(["[2]"] * 3)
      json.close_stream
      expect(readings.map(&:body)).to eq(["[]"] * 3)
    end

    %i[long_poll sse auto].each do |live|
      it "continue from the end of a JSON stream (live: #{live.inspect})" do
        json << 1
        reader = json.read_bytes(offset: json.head.next_offset, live: live)
        _, seen = in_background { |queue| reader.each { |chunk| queue << chunk } }
        expect(pop(seen)).to have_attributes(data: live == :sse ? "" : "[]", up_to_date?: true)
        json << 2
        data = pop(seen).data until data == "[2]"
      end
    end
  end

  %i[long_poll sse auto].each do |live|
    describe "live: #{live.inspect}" do
      it "waits for new messages and ends when the stream is closed" do
        json << 0
        thread, seen = in_background do |queue|
          json.read_json(live: live).each { |item| queue << item }
          queue << :ended
        end
        expect(pop(seen)).to eq(0)
        json << 1
        expect(pop(seen)).to eq(1)
        json.close_stream(data: 2)
        expect([pop(seen), pop(seen)]).to eq([2, :ended])
        thread.join
      end

      it "yields batches with their offsets and up_to_date?" do
        json << 0
        json.read(live: live).each do |batch|
          expect(batch.offset).to eq(json.head.offset)
          break if batch.up_to_date?
        end
      end

      it "continues after a break" do
        3.times { |n| json << n }
        reader = json.read_json(live: live)
        expect([reader.first(1), reader.first(2)]).to eq([[0], [1, 2]])
        json << 3
        expect(reader.first(1)).to eq([3])
      end

      it "ends without an error when another thread closes it" do
        json << 0
        reader = json.read_json(live: live)
        thread, seen = in_background do |queue|
          reader.each { |item| queue << item }
          queue << :ended
        end
        expect(pop(seen)).to eq(0)
        started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        reader.close
        expect(pop(seen)).to eq(:ended)
        expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - started).to be < AtOnce::SECONDS
        thread.join
        expect { reader.first }.to raise_error(DurableStreams::ClosedError)
      end

      it "yields bytes" do
        bytes << "\xFF\x00".b
        reader = bytes.read(live: live)
        expect(reader.first.data).to eq("\xFF\x00".b)
        bytes << "\n\r\n".b
        expect(reader.lazy.map(&:data).reject(&:empty?).first).to eq("\n\r\n".b)
      end

      it "ends at once on a closed stream" do
        json << 1
        json.close_stream
        reader = json.read_json(live: live)
        expect(reader.to_a).to eq([1])
        expect(reader).to be_stream_closed
        expect(reader.to_a).to eq([])
      end
    end
  end

  it "yields an empty poll and continues" do
    thread, seen = in_background do |queue|
      json.read(live: :long_poll).each { |batch| queue << batch }
    end
    empty = [pop(seen), pop(seen)]
    expect(empty.map { |batch| [batch.items, batch.up_to_date?] }).to all(eq([[], true]))
    json << 1
    batch = pop(seen)
    batch = pop(seen) while batch.items.empty?
    expect(batch.items).to eq([1])
    expect(thread).to be_alive
  end

  it "raises, and yields nothing of a stream that was deleted and created again with less data" do
    server = start_server(long_poll_timeout_ms: 500)
    policy = DurableStreams::RetryPolicy.new(max_retries: 1, initial_delay: 0.01)
    client = DurableStreams::Client.new(base_url: server.url, retry_policy: policy)
    stream = client.create(unique_path, content_type: :json)
    stream << { "text" => "x" * 1000 }
    thread, seen = in_background { |queue| stream.read_json(live: :long_poll).each { |item| queue << item } }
    expect(pop(seen)).to include("text")
    stream.delete
    stream.create
    stream << 1 until thread.join(0.05) || !seen.empty?
    expect { pop(seen) }.to raise_error(DurableStreams::DurableStreamError, /created again|not found/)
  ensure
    client&.close
  end

  it "calls callables for every request and omits a header for nil" do
    calls = 0
    counted = client.stream(json.url, headers: { "X-Count" => -> { (calls += 1).to_s }, "X-None" => -> {} },
                                      params: { "p" => -> { "é&=" } })
    counted.append(1)
    expect(calls).to eq(2) # the HEAD for the content type, and the POST
    counted.read_json.to_a
    expect(calls).to eq(3)
  end

  it "raises a callable's exception" do
    failing = client.stream(json.url, headers: { "X" => -> { raise KeyError, "no token" } })
    expect { failing.head }.to raise_error(KeyError, "no token")
    expect { failing.read_json.to_a }.to raise_error(KeyError, "no token")
  end
end
