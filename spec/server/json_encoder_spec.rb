# frozen_string_literal: true

# What is not a String is encoded by the `json_encoder`, in every way to append to a JSON stream.
on_each_server "json_encoder" do
  # Encodes a Point, which JSON.generate would encode as its to_s.
  let(:encoder) { ->(data) { JSON.generate(data.is_a?(Struct) ? data.to_h : data) } }
  let(:client) { DurableStreams::Client.new(base_url: server_url, json_encoder: encoder) }
  let(:point) { Struct.new(:x, :y).new(1, 2) }
  let(:item) { { "x" => 1, "y" => 2 } }
  let(:stream) { client.create(unique_path, content_type: :json) }

  def produce(**options, &block)
    DurableStreams::Producer.open(stream: stream, producer_id: "p", **options, &block)
  end

  it "encodes the first message, appends and the last message of a stream" do
    stream = client.create(unique_path, content_type: :json, body: point)
    stream.append(point)
    stream << [1] << '{"json":true}'
    stream.close_stream(data: point)
    expect(stream.read_all).to eq([item, item, [1], { "json" => true }, item])
  end

  it "encodes the messages of a producer" do
    produce do |producer|
      producer << point
      producer.append(point)
      producer.append!(point)
      producer.close_stream(data: point)
    end
    expect(stream.read_all).to eq([item] * 4)
  end

  it "encodes with exactly_once, and for a fork and a handle with other headers" do
    client = DurableStreams::Client.new(base_url: server_url, json_encoder: encoder, exactly_once: true)
    fork = client.stream(stream.url).fork(unique_path)
    DurableStreams::Producer.open(stream: fork, producer_id: "p", headers: { "X-A" => "1" }) { |p| p << point }
    fork << point
    expect(fork.read_all).to eq([item, item])
  end

  it "encodes with the encoder of `configure`, which a client does not inherit" do
    DurableStreams.configure { |config| config.json_encoder = encoder }
    DurableStreams.append(stream.url, point)
    DurableStreams::Producer.open(url: stream.url, producer_id: "p") { |producer| producer << point }
    expect(stream.read_all).to eq([item, item])
    expect { DurableStreams::Client.new.stream(stream.url) << point }.to raise_error(ArgumentError, /its own to_json/)
  ensure
    DurableStreams.reset_configuration!
  end

  it "is not used on a stream of bytes" do
    bytes = client.create(unique_path, content_type: :bytes)
    expect { bytes << point }.to raise_error(ArgumentError, /application.octet-stream takes a String/)
  end

  it "lets its exceptions, and errors about its results, reach the caller alone" do
    broken = DurableStreams::Client.new(json_encoder: ->(data) { data.fetch(:text) }).stream(stream.url)
    produce(stream: broken) do |producer|
      producer << { text: "1" }
      [broken, producer].each do |target|
        expect { target << {} }.to raise_error(KeyError)
        expect { target << { text: 7 } }.to raise_error(ArgumentError, /json_encoder must return a String.*Integer/)
        expect { target << { text: "no" } }.to raise_error(DurableStreams::ParseError, /json_encoder must return JSON/)
      end
    end
    expect { broken.create(body: {}) }.to raise_error(KeyError)
    expect(stream.read_all).to eq([1])
  end

  it "encodes undelivered messages again, to find out whether they have changed" do
    errors = Thread::Queue.new
    producer = DurableStreams::Producer.new(stream: client.stream(unique_path, content_type: :json), producer_id: "p",
                                            linger_ms: 60_000, on_error: ->(error) { errors << error })
    changed = point.dup
    producer << point << changed << [1] << "2"
    changed.x = 7
    expect { producer.close }.to raise_error(DurableStreams::StreamNotFoundError) { |error| errors << error }
    undelivered = Array.new(2) { errors.pop.undelivered }
    expect(undelivered).to all(eq([point, JSON.generate(item), [1], "2"]))
    expect(undelivered.map(&:first)).to all(equal(point))
  end
end
