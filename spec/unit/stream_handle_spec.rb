# frozen_string_literal: true

# The methods of a handle that need no server.
RSpec.describe DurableStreams::Stream do
  it "replaces the short names of content types and no other types" do
    expect([:json, :bytes, :text, "a/b; c=d", nil].map { |type| described_class.normalize_content_type(type) })
      .to eq(["application/json", "application/octet-stream", "text/plain", "a/b; c=d", ""])
  end

  it "accepts true, false and :shared_values as batching and rejects other values" do
    make = [
      ->(batching) { described_class.new("http://h/s", batching: batching) },
      ->(batching) { DurableStreams::Client.new.stream("http://h/s", batching: batching) },
      ->(batching) { DurableStreams.stream("http://h/s", batching: batching) }
    ]
    make.each do |new|
      expect([true, false, :shared_values].map(&new)).to all(be_a(described_class))
      [nil, :shared, "shared_values", 1].each do |batching|
        message = /\Abatching must be true, false or :shared_values, got #{batching.inspect}/
        expect { new.call(batching) }.to raise_error(ArgumentError, message)
      end
    end
  end

  it "accepts true, false and nil as exactly_once and rejects other values" do
    make = [
      ->(exactly_once) { described_class.new("http://h/s", exactly_once: exactly_once) },
      ->(exactly_once) { DurableStreams::Client.new.stream("http://h/s", exactly_once: exactly_once) },
      ->(exactly_once) { DurableStreams.stream("http://h/s", exactly_once: exactly_once) },
      ->(exactly_once) { DurableStreams::Client.new(exactly_once: exactly_once).stream("http://h/s") }
    ]
    make.each do |new|
      expect([true, false, nil].map(&new)).to all(be_a(described_class))
      [:true, "true", 1].each do |exactly_once| # rubocop:disable Lint/BooleanSymbol
        message = /\Aexactly_once must be true, false or nil, got #{exactly_once.inspect}/
        expect { new.call(exactly_once) }.to raise_error(ArgumentError, message)
      end
    end
  end

  it "has a path below the base_url, or that of its URL elsewhere" do
    client = DurableStreams::Client.new(base_url: "http://h/v1/")
    paths = { "/a b" => "a%20b", "http://h/v1/a?x" => "a", "http://h/v2/a" => "v2/a", "http://other/v1/a" => "v1/a" }
    expect(paths.keys.to_h { |url| [url, client.stream(url).path] }).to eq(paths)
    expect(described_class.new("http://h/v1/a").path).to eq("v1/a")
  end

  it "resolves the headers of a request" do
    count = 0
    client = DurableStreams::Client.new(headers: { "X-A" => "client", "X-B" => "client", "X-C" => -> {} })
    stream = client.stream("http://h/s", headers: { "x-b" => -> { "value #{count += 1}" }, "X-D" => nil })
    expect(stream.resolved_headers).to eq("X-A" => "client", "x-b" => "value 1")
    expect(stream.resolved_headers("X-A" => "extra")).to eq("X-A" => "extra", "x-b" => "value 2")
    expect(described_class.new("http://h/s").resolved_headers).to eq({})
  end
end
