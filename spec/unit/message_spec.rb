# frozen_string_literal: true

RSpec.describe DurableStreams::Message do
  describe "on a JSON stream" do
    def encode(data)
      described_class.encode(data, true, "application/json", nil)
    end

    [{ "a" => [1, { b: "ü" }] }, [1, [2]], [], {}, 7, 1.5, 12_345_678_901_234_567_890, true, false, nil].each do |data|
      it "encodes #{data.inspect} as JSON.generate does" do
        expect(encode(data)).to eq(JSON.generate(data))
      end
    end

    it "leaves a String as it is" do
      json = '{"a":1}'
      expect(encode(json)).to equal(json)
    end

    it "uses an object's own to_json, outside and inside" do
      event = Class.new { def to_json(*) = '{"own":true}' }.new
      expect(encode(event)).to eq('{"own":true}')
      expect(encode([event])).to eq('[{"own":true}]')
    end

    it "calls to_json without a state, unlike JSON.generate" do
      event = Class.new { def to_json(state = nil) = state ? '"inner"' : '"own"' }.new
      expect(encode(event)).to eq('"own"')
    end

    it "accepts an object that defines a method named `method`" do
      request = Class.new do
        attr_reader :method

        def to_json(*) = '"own"'
      end
      expect(encode(request.new)).to eq('"own"')
    end

    [Object.new, :symbol, Time.at(0), 1..2].each do |data|
      it "rejects a #{data.class}, which JSON would encode as its to_s" do
        expect { encode(data) }.to raise_error(ArgumentError, /a JSON stream takes a Hash.*got #{data.class}/)
      end
    end

    it "raises the errors of JSON.generate, with the class of the data" do
      expect { encode(Float::NAN) }.to raise_error(JSON::GeneratorError, /\Acannot encode Float as JSON: .*NaN/)
      expect { encode(["\xFF"]) }.to raise_error(JSON::GeneratorError, /\Acannot encode Array as JSON: .*UTF-8/)
      loop = [].tap { |array| array << array }
      expect { encode(loop) }.to raise_error(JSON::NestingError, /\Acannot encode Array as JSON: .*part of itself/)
    end
  end

  describe "with a json_encoder" do
    def encode(data, encoder)
      described_class.encode(data, true, "application/json", encoder)
    end

    it "passes it everything except Strings" do
      passed = []
      encoder = ->(data) { passed << data && "null" }
      given = [{ "a" => 1 }, [1], 7, nil, true, :symbol, Object.new, "1"]
      expect(given.map { |data| encode(data, encoder) }).to eq([*["null"] * 7, "1"])
      expect(passed).to eq(given.first(7))
    end

    it "raises what the encoder raises" do
      expect { encode(1, ->(_) { raise KeyError, "no such key" }) }.to raise_error(KeyError, "no such key")
    end

    [nil, 7, :json, { "a" => 1 }].each do |result|
      it "rejects #{result.inspect}, which is not a String" do
        expect { encode([1], ->(_) { result }) }.to raise_error(
          ArgumentError, "json_encoder must return a String of JSON, got #{result.class} for Array"
        )
      end
    end

    ["", "{", "1 2", "\"\xFF\"", "nil"].each do |result|
      it "rejects #{result.inspect}, which is not JSON" do
        expect { encode([1], ->(_) { result }) }.to raise_error(
          DurableStreams::ParseError, /\Ajson_encoder must return JSON, but for Array it returned invalid JSON at byte/
        )
      end
    end

    it "encodes by JSON.generate if that is chosen, whatever the default is" do
      described_class.default_encoder = ->(_) { '"default"' }
      expect([encode([1], nil), encode([1], false), encode([1], ->(_) { '"chosen"' })])
        .to eq(['"default"', "[1]", '"chosen"'])
    ensure
      described_class.default_encoder = nil
    end
  end

  describe "on another stream" do
    def encode(data)
      described_class.encode(data, false, "text/plain", ->(_) { raise "not for this stream" })
    end

    it "leaves a String as it is, in any encoding" do
      data = "\xE9".dup.force_encoding("ISO-8859-1")
      expect(encode(data)).to equal(data)
    end

    [{ a: 1 }, [1], 7, nil, true, :symbol, Object.new].each do |data|
      it "rejects a #{data.class} and names the accepted types" do
        expect { encode(data) }
          .to raise_error(ArgumentError, %r{\Aa stream of text/plain takes a String, got (#{data.class}|nil):})
      end
    end
  end
end
