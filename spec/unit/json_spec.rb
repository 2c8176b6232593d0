# frozen_string_literal: true

require "English"

RSpec.describe "JSON from bytes to Ruby objects" do
  include JSONOutcome

  def native
    DurableStreams::Native
  end

  def expect_as_json_parse(text)
    expected = outcome { json_parse(text) }
    expect(outcome { native.parse_value(text) }).to eq(expected), -> { "differs from JSON.parse for #{text.inspect}" }
    expected
  end

  def under_gc_stress
    GC.stress = true
    yield
  ensure
    GC.stress = false
  end

  [
    "1", "-0", "-0.0", "-0e5", "0e5", "1E5", "1e400", "-1e400", "1e-400", "5e-324", "2.2250738585072014e-308",
    "1.7976931348623157e308", "0.1", "0.1234567890123456789", "1.#{"3" * 80}", "4611686018427387903",
    "4611686018427387904", "-4611686018427387904", "-4611686018427387905", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "1" * 100, "-#{"9" * 400}", "true", "false", "null", " [ ] ", "{}", "\"a\"", "\"\\u0000a\"",
    "{\"\\u0000\":1,\"\":2}", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "\"\\ude00\"", "\"\\ud83dx\"", "\"\\ud83d\\u0041\"",
    "\"\\q\"", "\"\\u12g4\"", "\"é漢😀\"", "\"\\/\\b\\f\\n\\r\\t\\\"\\\\\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"a\nb\"",
    "\"\x7f\"", "{\"a\":1,\"a\":2,\"b\":3,\"a\":4}", "[1,]", "{\"a\":1,}", "[1 2]", "01", "-", "1.", ".5", "+1", "1e",
    "NaN", "[NaN]", "Infinity", "-Infinity", "nul", "", "  ", "[1/* c */,2]", "\u{feff}1", "[1]]", "1 2", "\0", "1\0",
    "#{"[" * 100}#{"]" * 100}", "#{"[" * 101}#{"]" * 101}", "#{"{\"a\":" * 100}1#{"}" * 100}",
    "#{"{\"a\":" * 101}1#{"}" * 101}", "\"#{"x" * 5000}\\n#{"é" * 500}\"", "\"#{"\\\\" * 3000}\"",
    "{\"#{"k" * 3000}\\n\":1}", "{\"é\":1,\"#{"long" * 10}\":2}",
    "[#{(0..3000).to_a.join(",")}]", "{#{(0..2000).map { |i| "\"key number #{i}\":#{i}" }.join(",")}}",
    "{#{(0..2000).map { |i| "\"k#{i % 1999}\":#{i}" }.join(",")}}"
  ].each do |text|
    it "accepts or rejects #{text.size > 40 ? "#{text[0, 40].inspect}..." : text.inspect} as JSON.parse does" do
      expect_as_json_parse(text)
    end
  end

  it "accepts or rejects random and damaged documents as JSON.parse does", without: :gc_pressure do
    texts = RandomJSON.new(20_251_121)
    refused = 0
    10_000.times do
      text = texts.document
      expect_as_json_parse(text)
      refused += 1 if expect_as_json_parse(texts.damaged(text)) == :refused
    end
    expect(refused).to be > 500
  end

  it "interns and freezes keys, and does not freeze values" do
    first, second = native.parse_items('{"a key":"a value"},{"a key":"a value"}')
    expect(first.keys.first).to be_frozen.and equal(second.keys.first)
    expect([first, first["a key"]]).not_to include(be_frozen)
    expect(first["a key"]).not_to equal(second["a key"])
  end

  describe "items with commas between them" do
    it "become an array" do
      expect(native.parse_items(" {\"a\":[1,\"],\"]} , null,\n3 ")).to eq([{ "a" => [1, "],"] }, nil, 3])
    end

    it "may be empty" do
      expect([native.parse_items(""), native.parse_items(" \n")]).to eq([[], []])
    end

    it "are passed to JSON.parse one by one if they are unusual" do
      allow(JSON).to receive(:parse).and_call_original
      odd = '{"a":1e400}'
      expected = [1, JSON.parse(odd), "x,\"]"]
      expect(native.parse_items(%(1,#{odd},"x,\\"]"))).to eq(expected)
      expect(JSON).to have_received(:parse).with(odd, hash_including(allow_duplicate_key: true)).once
    end

    ["1,", ",1", ",", "1,,2", "1]2", "[1", "{\"a\":1,2", "1 2", "[1,nope],2"].each do |text|
      it "are rejected in #{text.inspect}" do
        expect { native.parse_items(text) }.to raise_error(DurableStreams::ParseError, /invalid JSON: \S/)
      end
    end
  end

  it "returns the last value of a repeated key, although json may reject it" do
    refusing = lambda do |_, options = nil|
      raise JSON::ParserError, "duplicate key" unless options&.fetch(:allow_duplicate_key)

      { "called" => "by the extension" }
    end
    allow(JSON).to receive(:parse, &refusing)
    expect(native.parse_value('{"a":1,"b":2,"a":[3]}').to_a).to eq([["a", [3]], ["b", 2]])
    expect(native.parse_items('{"\\u0061":1,"a":2},[{"a":1,"a":2}]')).to eq([{ "a" => 2 }, [{ "a" => 2 }]])
    expect(native.parse_value('{"a":1e400,"a":2}')).to eq("called" => "by the extension")
  end

  it "includes json's reason in its error, without the rest of a long text" do
    expect { native.parse_value("[nope,\"#{"secret" * 1000}\"]") }
      .to raise_error(DurableStreams::ParseError) { |error| expect(error.message.size).to be_between(20, 400) }
  end

  it "raises or throws anything else that JSON.parse does" do
    allow(JSON).to receive(:parse).and_raise(Interrupt, "stop")
    expect { native.parse_value("nope") }.to raise_error(Interrupt, "stop")
    allow(JSON).to receive(:parse) { throw :out, :thrown }
    expect(catch(:out) { native.parse_value("nope") }).to eq(:thrown)
  end

  it "does not change $!" do
    seen = nil
    expect do
      raise "first"
    ensure
      begin
        native.parse_value("nope")
      rescue DurableStreams::ParseError
        nil
      end
      seen = $ERROR_INFO
    end.to raise_error("first")
    expect(seen&.message).to eq("first")
  end

  describe "under the GC" do
    let(:texts) do
      # More values and keys than the parser has room for without an allocation.
      values = "#{"1," * 250}#{(0..15).map { |i| "\"string number #{i}, too long to be embedded\"" }.join(",")}"
      pairs = (0..70).map { |i| "\"key number #{i}\":#{i}" }
      odd = "\"v\",1.5e200,#{"9" * 30},\"\\u00e9#{"y" * 1100}\",{\"a\":1,\"a\":[\"x\"]}"
      ["[#{values}]", "{#{pairs.join(",")}}", "[#{odd}]"]
    end

    it "builds the same objects under GC.stress" do
      texts.each do |text|
        expected = outcome { json_parse(text) }
        expect(outcome { under_gc_stress { native.parse_value(text) } }).to eq(expected)
      end
    end

    it "can fail inside an item under GC.stress" do
      3.times do
        text = '{"a":["x","y",{"b":"z"}],"c":1},[1,2,{"d":nope}]'
        expect { under_gc_stress { native.parse_items(text) } }.to raise_error(DurableStreams::ParseError)
      end
    end

    if GC.respond_to?(:auto_compact=)
      around do |example|
        before = GC.auto_compact
        example.run
      ensure
        GC.auto_compact = before
      end

      it "builds the same objects while the GC moves objects" do
        expected = texts.map { |text| outcome { json_parse(text) } }
        GC.auto_compact = true
        expect(texts.map { |text| outcome { under_gc_stress { native.parse_value(text) } } }).to eq(expected)
      end
    end
  end

  describe "the validation of appends" do
    it "accepts one JSON value" do
      deep = "#{"[" * 5000}#{"]" * 5000}"
      ['{"a":[1,-2.5e3,"\\u00e9",null]}', " 1 ", '"\\ud800"', '{"a":1,"a":2}', deep].each do |text|
        expect(native.check_json(text)).to be_nil
      end
    end

    {
      "" => "byte 0: no value", "1 2" => "byte 2: more text after the value", "[1,]" => "byte 3: expected a value",
      "{\"a\" 1}" => "byte 5: expected ':' after an object's key", "\"\xff\"" => "byte 1: not valid UTF-8",
      "NaN" => "byte 0: expected a value", "\"a\nb\"" => "byte 2: control character in a string",
      "[1".encode("UTF-16LE") => "byte 1: expected a value"
    }.each do |text, reason|
      it "rejects #{text.inspect} with a reason" do
        expect { native.check_json(text) }.to raise_error(DurableStreams::ParseError, /#{Regexp.escape(reason)}\z/)
      end
    end
  end
end
