# frozen_string_literal: true

on_each_server DurableStreams::Stream do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:path) { unique_path }
  let(:stream) { client.stream(path) }
  let(:json) { client.create(unique_path, content_type: :json) }
  let(:text) { client.create(unique_path, content_type: :text) }
  let(:bytes) { client.create(unique_path, content_type: :bytes) }

  after { client.close }

  def items_of(stream)
    client.stream(stream.url).read_all
  end

  describe "#create" do
    it "creates the stream and returns the handle" do
      expect(stream.create(content_type: "application/json")).to equal(stream)
      expect(stream.head).to have_attributes(content_type: "application/json", stream_closed: false)
    end

    it "has the alias create_stream" do
      expect(stream.create_stream(content_type: "text/plain")).to equal(stream)
      expect(stream.content_type).to eq("text/plain")
    end

    it "succeeds if the same stream exists, and raises StreamExistsError if its configuration differs" do
      stream.create(content_type: :json)
      expect(client.stream(path).create(content_type: :json)).to be_exists
      expect { client.stream(path).create(content_type: :text) }
        .to raise_error(DurableStreams::StreamExistsError) { |error|
          expect(error).to have_attributes(status: 409, code: "CONFLICT_EXISTS", url: stream.url)
        }
    end

    { json: "application/json", bytes: "application/octet-stream", text: "text/plain" }.each do |name, type|
      it "accepts #{name.inspect} for #{type}" do
        stream.create(content_type: name)
        expect([stream.content_type, client.connect(path).content_type]).to all(eq(type))
      end
    end

    it "uses the configuration's default content type if none is given" do
      context = DurableStreams.new_context do |config|
        config.base_url = server_url
        config.default_content_type = :text
      end
      expect(DurableStreams.create(path, context: context).head.content_type).to eq("text/plain")
    end

    it "creates a JSON stream with a first message, encoded or not" do
      stream.create(content_type: :json, body: '{"a":1}')
      other = client.create(unique_path, content_type: :json, body: [1, { "b" => 2 }])
      expect([items_of(stream), items_of(other)]).to eq([[{ "a" => 1 }], [[1, { "b" => 2 }]]])
    end

    it "creates other streams with first bytes" do
      stream.create(content_type: :text, body: "first")
      expect(stream.read.body).to eq("first")
      expect { client.create(unique_path, content_type: :text, body: { a: 1 }) }
        .to raise_error(ArgumentError, /takes a String, got Hash/)
    end

    it "creates a closed stream" do
      stream.create(content_type: :json, body: 1, closed: true)
      expect(stream.head).to be_closed
      expect(items_of(stream)).to eq([1])
    end

    it "creates a stream with ttl_seconds" do
      stream.create(content_type: :json, ttl_seconds: 60)
      expect(stream.head.ttl_seconds).to eq(60)
    end

    it "creates a stream with expires_at, a Time or a String" do
      moment = Time.at(Time.now.to_i + 3600)
      stream.create(content_type: :json, expires_at: moment)
      other = client.create(unique_path, content_type: :json, expires_at: moment.getutc.strftime("%Y-%m-%dT%H:%M:%SZ"))
      expect([stream.head.expires_at, other.head.expires_at]).to all(eq(moment))
    end

    it "rejects invalid options before it sends a request" do
      impossible = [{ ttl_seconds: 1, expires_at: Time.now }, { ttl_seconds: -1 }, { ttl_seconds: 1.5 },
                    { ttl_seconds: "60" }, { ttl_seconds: 2**80 }, { fork_offset: "1" },
                    { forked_from: "/a", fork_offset: 1 }, { forked_from: "/a", fork_sub_offset: -1 },
                    { expires_at: 60 }, { content_type: :xml }, { forked_from: 7 },
                    { no_such_keyword: 1 }]
      impossible.each { |options| expect { stream.create(**options) }.to raise_error(ArgumentError) }
      expect(stream).not_to be_exists
    end
  end

  describe "forks" do
    before { 3.times { |n| json << { "n" => n } } }

    it "begin with the source's messages and are independent of it afterwards" do
      fork = json.fork(unique_path)
      fork << "own".to_json
      json << { "n" => 3 }
      expect(fork.content_type).to eq("application/json")
      expect(items_of(fork)).to eq([{ "n" => 0 }, { "n" => 1 }, { "n" => 2 }, "own"])
      expect(items_of(json).size).to eq(4)
      expect(text.fork(unique_path).head.content_type).to eq("text/plain")
    end

    it "begin at fork_offset and fork_sub_offset" do
      middle = json.head.offset # must be an offset of the server's, not -1
      3.times { |n| json << { "n" => n + 3 } }
      # On the Node server, a sub-offset may not exceed the first append after the offset.
      more = server_kind == :node ? 1 : 2
      fork = json.fork(unique_path, offset: middle, sub_offset: more)
      expect(items_of(fork)).to eq(Array.new(3 + more) { |n| { "n" => n } })
      expect(items_of(json.fork(unique_path, offset: middle)).size).to eq(3)
    end

    it "can be created by forked_from:, a stream, URL or path" do
      forks = [json, json.url, json.url.delete_prefix(server_url)].map do |source|
        client.create(unique_path, forked_from: source)
      end
      expect(forks.map { |fork| items_of(fork).size }).to eq([3, 3, 3])
    end

    ["with space", "caf\u00e9", "caf%C3%A9", "a/../b", "a+b"].each do |name|
      it "accept sources whose paths are encoded in any way (#{name})" do
        source = client.create("#{unique_path}/#{name}", content_type: :json, body: 1)
        expect(items_of(source.fork(unique_path))).to eq([1])
        fork = DurableStreams::Stream.create(unique_url, forked_from: source.url.delete_prefix(server_url))
        expect(items_of(fork)).to eq([1])
      end
    end

    it "raise StreamNotFoundError if the source does not exist" do
      expect { client.stream(unique_path).fork(unique_path) }.to raise_error(DurableStreams::StreamNotFoundError)
    end
  end

  describe ".connect, .exists?" do
    it "request the stream's metadata" do
      client.create(path, content_type: :json)
      expect(client.connect(path).content_type).to eq("application/json")
      expect(described_class.connect(server_url + path).content_type).to eq("application/json")
      expect(described_class.exists?(server_url + path)).to be(true)
    end

    it "raise StreamNotFoundError or return false if the stream does not exist" do
      expect { client.connect(path) }.to raise_error(DurableStreams::StreamNotFoundError) { |error|
        expect(error).to have_attributes(url: server_url + path, status: 404, status_code: 404, code: "NOT_FOUND")
        expect(error.message).to start_with("connect to #{error.url}:")
      }
      expect(described_class.exists?(server_url + path)).to be(false)
      expect(stream).not_to be_exists
    end
  end

  describe "#append on a JSON stream" do
    [{ "a" => [1, nil, true] }, [1, [2]], [], {}, 7, 1.5, 2**80, true, false, nil, "text".to_json].each do |data|
      it "appends #{data.inspect} as one message" do
        expect(json.append(data)).to be_a(DurableStreams::AppendResult)
        expect(items_of(json)).to eq([data.is_a?(String) ? JSON.parse(data) : data])
      end
    end

    it "uses an object's own to_json" do
      json << Class.new { def to_json(*) = '{"own":true}' }.new
      expect(items_of(json)).to eq([{ "own" => true }])
    end

    it "returns the stream's next offset" do
      result = json.append({ a: 1 })
      expect([result[:next_offset], result.next_offset]).to all(eq(json.head.next_offset))
      expect(result).not_to be_duplicate
    end

    it "has the variants append! and <<" do
      expect(json.append!(1).next_offset).to eq(json.head.offset)
      expect(json << 2 << 3).to equal(json)
      expect(items_of(json)).to eq([1, 2, 3])
    end

    it "raises ParseError for a String that is not JSON and appends nothing" do
      ["{oops", "", "1 2", "\"\xFF\"", "nul"].each do |data|
        expect { json.append(data) }.to raise_error(DurableStreams::ParseError) { |error|
          expect(error.code).to eq("PARSE_ERROR")
        }
      end
      expect(items_of(json)).to eq([])
    end

    it "rejects values that JSON cannot represent" do
      expect { json.append(:symbol) }.to raise_error(ArgumentError, /takes a Hash.*got Symbol/)
      expect { json.append(Float::NAN) }.to raise_error(JSON::GeneratorError)
    end

    it "requests an unknown content type once" do
      handle = client.stream(json.url)
      expect(handle.content_type).to be_nil
      handle.append({ a: 1 })
      expect(handle.content_type).to eq("application/json")
      expect(items_of(json)).to eq([{ "a" => 1 }])
    end
  end

  describe "#append on other streams" do
    it "appends the bytes of a String in any encoding" do
      bytes << "a" << "\xFF\x00".b << "é".encode("ISO-8859-1") << "é"
      expect(bytes.read.body).to eq("a\xFF\x00\xE9\xC3\xA9".b)
    end

    it "rejects other data" do
      [{ a: 1 }, [1], 7, nil, true].each do |data|
        expect { bytes.append(data) }
          .to raise_error(ArgumentError, %r{\Aa stream of application/octet-stream takes a String, got })
      end
    end
  end

  describe "#append with seq" do
    it "raises SeqConflictError unless the values increase" do
      json.append({ a: 1 }, seq: 1)
      json.append({ a: 2 }, seq: "seq-002")
      expect { json.append({ a: 3 }, seq: "1") }.to raise_error(DurableStreams::SeqConflictError) { |error|
        expect(error).to have_attributes(status: 409, code: "CONFLICT_SEQ", url: json.url)
      }
      expect(items_of(json)).to eq([{ "a" => 1 }, { "a" => 2 }])
    end
  end

  it "raises StreamNotFoundError if the stream does not exist" do
    expect { client.stream(path, content_type: :json).append(1) }.to raise_error(DurableStreams::StreamNotFoundError)
    expect { client.stream(path).append(1) }.to raise_error(DurableStreams::StreamNotFoundError)
  end

  it "raises ContentTypeMismatchError if the content type differs" do
    expect { client.stream(text.url, content_type: :bytes).append("x") }
      .to raise_error(DurableStreams::ContentTypeMismatchError) { |error| expect(error.code).to eq("CONFLICT") }
  end

  describe "appends of many threads through one handle" do
    it "are all stored, in call order for each thread" do
      threads = Array.new(8) { |t| Thread.new { 25.times { |n| json.append([t, n]) } } }
      threads.each(&:join)
      items = items_of(json)
      expect(items.size).to eq(200)
      expect(items.group_by(&:first).values.map { |own| own.map(&:last) }).to all(eq((0...25).to_a))
    end

    # Appends until the thread ends, and stores the number of appends that returned.
    def appending(name, begun)
      Thread.new do
        Thread.current.report_on_exception = false
        count = 0
        begin
          loop do
            json.append([name, count])
            begun << name if (count += 1) == 20
          end
        ensure
          Thread.current[:count] = count
        end
      end
    end

    it "lose nothing when some of the threads are killed" do
      begun = Queue.new
      threads = Array.new(16) { |name| appending(name, begun) }
      16.times { begun.pop }
      threads.each_slice(2) { |one, other| one.kill && other.raise("ended") }
      threads.each { |thread| thread.join rescue nil } # rubocop:disable Style/RescueModifier
      items_of(json).group_by(&:first).each do |name, own|
        # The last append may be stored although its thread was killed before it returned.
        count = threads[name][:count]
        expect([(0...count).to_a, (0..count).to_a]).to include(own.map(&:last))
      end
    end

    def outcome_of(data)
      json.append(data).next_offset
    rescue DurableStreams::DurableStreamError => e
      e.code
    end

    it "each have their own outcome" do
      outcomes = Array.new(12) { |n| Thread.new { outcome_of(n.even? ? n.to_s : "{broken") } }.map(&:value)
      expect(outcomes.values_at(1, 3, 5, 7, 9, 11)).to all(eq("PARSE_ERROR"))
      expect(outcomes.values_at(0, 2, 4, 6, 8, 10)).to all(match(/\d/))
      expect(items_of(json).sort).to eq([0, 2, 4, 6, 8, 10])
    end
  end

  describe "#close_stream" do
    it "closes the stream permanently" do
      tail = json.append(1).next_offset
      expect(json.close_stream).to eq(DurableStreams::CloseResult.new(final_offset: tail))
      expect(json.head).to be_closed
      expect { json.append(2) }.to raise_error(DurableStreams::StreamClosedError) { |error|
        expect(error).to have_attributes(status: 409, code: "STREAM_CLOSED", url: json.url, final_offset: tail)
      }
    end

    it "is idempotent without data" do
      expect(json.close_stream[:final_offset]).to eq(json.close_stream[:final_offset])
    end

    it "appends last data, but not to a closed stream" do
      json.close_stream(data: { "last" => true })
      expect(items_of(json)).to eq([{ "last" => true }])
      expect { json.close_stream(data: 1) }.to raise_error(DurableStreams::StreamClosedError)
    end

    it "appends last data from a handle that does not know the content type" do
      client.stream(json.url).close_stream(data: [1])
      client.stream(text.url).close_stream(data: "end", content_type: :text)
      expect([items_of(json), text.read.body]).to eq([[[1]], "end"])
    end
  end

  describe "#close" do
    it "does not close the stream on the server, and may be called twice" do
      2.times { expect(json.close).to be_nil }
      expect(json.head).not_to be_closed
    end

    it "names close_stream in its error if it has arguments" do
      expect { json.close(data: 1) }.to raise_error(ArgumentError, /close_stream/)
      expect { json.close("x") }.to raise_error(ArgumentError, /close_stream/)
      expect(json.head).not_to be_closed
    end
  end

  describe "#delete" do
    it "deletes the stream" do
      expect(json.delete).to be_nil
      expect(json).not_to be_exists
      expect { json.delete }.to raise_error(DurableStreams::StreamNotFoundError)
    end
  end

  describe "#head" do
    it "returns the server's metadata" do
      head = text.head
      expect(head).to have_attributes(exists: true, exists?: true, content_type: "text/plain", closed?: false,
                                      stream_closed: false, ttl_seconds: nil, expires_at: nil)
      expect(head[:offset]).to eq(head.next_offset)
      case head
      in { content_type:, offset:, stream_closed: }
        expect([content_type, offset, stream_closed]).to eq(["text/plain", head.next_offset, false])
      end
    end
  end

  it "returns whether its content type is JSON" do
    expect([json, client.stream(json.url), text, client.stream(text.url)].map(&:json?))
      .to eq([true, true, false, false])
  end

  describe "a closed client" do
    it "rejects requests" do
      json
      client.close
      expect(client).to be_closed
      expect { json.append(1) }.to raise_error(DurableStreams::ClosedError)
      expect { json.head }.to raise_error(DurableStreams::ClosedError)
      expect { json.read.to_a }.to raise_error(DurableStreams::ClosedError)
      expect { client.close }.not_to raise_error
    end

    it "results from Client.open, however its block exits" do
      opened = nil
      expect(DurableStreams::Client.open(base_url: server_url) { |c| (opened = c) && :value }).to eq(:value)
      expect(opened).to be_closed
      expect { DurableStreams::Client.open { |c| (opened = c) && raise("no") } }.to raise_error("no")
      expect(opened).to be_closed
      expect(DurableStreams::Client.open(base_url: server_url)).not_to be_closed
    end
  end

  it "rejects unknown keywords in every method" do
    expect { DurableStreams::Client.new(bas_url: "x") }.to raise_error(ArgumentError, /bas_url/)
    expect { client.stream(path, nonsense: 1) }.to raise_error(ArgumentError, /nonsense/)
    expect { json.append(1, sequence: "1") }.to raise_error(ArgumentError, /sequence/)
    expect { json.read(from: "1") }.to raise_error(ArgumentError, /from/)
    expect { client.create(path, content_type: :json, ttl: 1) }.to raise_error(ArgumentError, /ttl/)
  end

  it "rejects line breaks and NUL in headers and parameters" do
    ["a\r\nX: y", "a\nb", "a\0b"].each do |value|
      expect { client.stream(path, params: { "bad" => value }).head }.to raise_error(ArgumentError, /param bad: .*CR/)
      expect { client.stream(path, headers: { "X-Bad" => value }).head }.to raise_error(ArgumentError) { |error|
        expect(error.message).not_to include("X: y")
      }
    end
    expect { client.stream(path, headers: { "X\r\nY" => "z" }).head }.to raise_error(ArgumentError)
  end
end
