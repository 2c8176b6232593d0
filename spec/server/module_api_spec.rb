# frozen_string_literal: true

on_each_server DurableStreams do
  let(:path) { unique_path }

  before { described_class.configure { |config| config.base_url = server_url } }
  after { described_class.reset_configuration! }

  it "creates, appends and reads with the process's configuration" do
    stream = described_class.create(path, content_type: :json)
    expect(stream.url).to eq(server_url + path)
    expect(described_class.append(path, { "a" => 1 })).to be_a(DurableStreams::AppendResult)
    described_class.append(server_url + path, [2], seq: "1", content_type: :json)
    expect(described_class.read(path).to_a).to eq([{ "a" => 1 }, [2]])
    expect(described_class.stream(path).read_all).to eq([{ "a" => 1 }, [2]])
    expect { described_class.append(path, 3, seq: "0") }.to raise_error(DurableStreams::SeqConflictError)
  end

  it "reads items or chunks, or as `format:` specifies" do
    first = described_class.create(path, content_type: :json, body: 1).append(2).next_offset
    described_class.append(path, 3)
    expect(described_class.read(path, offset: first).to_a).to eq([3])
    expect(described_class.read(path, format: nil).to_a).to eq([1, 2, 3])
    expect(described_class.read(path, format: :json).each_batch.flat_map(&:items)).to eq([1, 2, 3])
    expect(described_class.read(path, format: :bytes).map(&:data).join).to eq("[1,2,3]")
    expect(described_class.read(path, live: :sse).first(2)).to eq([1, 2])
    text = described_class.create(unique_path, content_type: :text, body: "x")
    expect(described_class.read(text.url).map(&:data)).to eq(["x"])
  end

  it "sends the default headers and parameters" do
    calls = []
    described_class.configure do |config|
      config.default_headers = { "X-One" => -> { calls << :header && "1" } }
      config.default_params = { "one" => -> { calls << :param && "1" } }
    end
    described_class.create(path, content_type: :json)
    expect(calls).to contain_exactly(:header, :param)
  end

  it "raises the errors of streams and readers" do
    expect { described_class.append(path, 1) }.to raise_error(DurableStreams::StreamNotFoundError)
    { live: :often, cursor: 1, retry_policy: 1 }.each do |name, value|
      expect { described_class.read(path, name => value) }.to raise_error(ArgumentError, /\A#{name} must be/)
    end
    expect { described_class.stream(nil) }.to raise_error(ArgumentError, /url must be a String.*, got nil/)
    expect { described_class.create(path, content_type: :json, nonsense: 1) }.to raise_error(ArgumentError, /nonsense/)
    described_class.reset_configuration!
    expect { described_class.stream(path) }.to raise_error(ArgumentError, /is a path, and no base_url is configured/)
  end

  it "shows no credentials in errors" do
    url = server_url.sub("://", "://user:secret@") + path
    headers = { "Authorization" => "Bearer secret" }
    calls = [->(stream) { stream.head }, ->(stream) { stream.append("x") }, ->(stream) { stream.read_json.to_a },
             ->(stream) { stream.delete }, ->(stream) { stream.close_stream }]
    calls.each do |call|
      expect { call.call(described_class.stream(url, headers: headers, content_type: :text)) }
        .to raise_error(DurableStreams::StreamNotFoundError) { |error|
          shown = [error.message, error.inspect, error.url].join
          expect(shown).to include(path)
          expect(shown).not_to include("secret")
        }
    end
  end
end
