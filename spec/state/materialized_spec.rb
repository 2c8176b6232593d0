# frozen_string_literal: true

require "durable_streams/state"

RSpec.describe DurableStreams::State::Materialized do
  include_context "with log lines"

  subject(:state) { described_class.new }

  def event(operation, key = "42", value = { "total" => 10 }, type: "order", **members)
    made = { "type" => type, "key" => key, "headers" => { "operation" => operation } }
    made["value"] = value unless operation == "delete"
    made.merge(members.transform_keys(&:to_s))
  end

  def control(name, **headers)
    { "headers" => { "control" => name }.merge(headers.transform_keys(&:to_s)) }
  end

  describe "#apply" do
    %w[insert update upsert].each do |operation|
      it "stores the value of an #{operation}, whether or not there is one" do
        expect(state.apply(event(operation, "42", 1))).to eq(operation.to_sym)
        expect(state["order", "42"]).to eq(1)
        state.apply(event(operation, "42", 2))
        expect(state["order", "42"]).to eq(2)
      end
    end

    it "removes the value of a delete, with or without a value of its own" do
      %w[1 2 3].each { |key| state.apply(event("insert", key)) }
      expect(state.apply(event("delete", "1"))).to eq(:delete)
      state.apply(event("delete", "2", value: nil))
      state.apply(event("delete", "none"))
      expect(state.to_h).to eq("order" => { "3" => { "total" => 10 } })
    end

    it "keeps types apart" do
      state.apply(event("insert", "42", 1))
      state.apply(event("insert", "42", 2, type: "user"))
      state.apply(event("delete", "42", type: "user"))
      expect(state.to_h).to eq("order" => { "42" => 1 })
      expect(state.types).to eq(["order"])
    end

    [nil, false, "text", 1.5, [1, [2]], {}].each do |value|
      it "stores #{value.inspect}" do
        state.apply(event("insert", "42", value))
        expect(state.of("order")).to eq("42" => value)
        expect(log_lines).to eq([])
      end
    end

    it "clears the state at a reset, whatever its offset" do
      state.apply(event("insert", "1"))
      expect(state.apply(control("reset", offset: "0_7"))).to eq(:reset)
      expect(state.to_h).to eq({})
      state.apply(event("insert", "2", 1))
      expect(state.to_h).to eq("order" => { "2" => 1 })
    end

    it "changes nothing at the marks of a snapshot" do
      state.apply(event("insert", "1", 1))
      expect(state.apply(control("snapshot-start", offset: "0_7"))).to eq(:snapshot_start)
      state.apply(event("insert", "2", 2))
      expect(state.apply(control("snapshot-end"))).to eq(:snapshot_end)
      expect(state.of("order")).to eq("1" => 1, "2" => 2)
      expect(log_lines).to eq([])
    end

    it "does not need what the protocol leaves open: txid, timestamp, other members" do
      made = event("insert", "42", 1, extra: 1)
      made["headers"].update("txid" => 7, "timestamp" => "yesterday", "from" => "client")
      expect(state.apply(made)).to eq(:insert)
    end
  end

  describe "an event that is neither a change nor a control" do
    partial = { "type" => "order", "key" => "42", "value" => 1 }
    {
      "a String" => ["text", "it must be an object, got String"],
      "nil" => [nil, "it must be an object, got NilClass"],
      "an Array" => [[], "it must be an object, got Array"],
      "an object without headers" => [partial, "its headers must be an object, got NilClass"],
      "headers that are no object" => [{ "headers" => "insert" }, "its headers must be an object, got String"],
      "headers of neither kind" => [{ "headers" => {} },
                                    "its operation must be one of insert, update, upsert, delete, got NilClass"],
      "an unknown operation" => [partial.merge("headers" => { "operation" => "merge" }),
                                 'its operation must be one of insert, update, upsert, delete, got "merge"'],
      "an operation that is no String" => [partial.merge("headers" => { "operation" => 1, "control" => "reset" }),
                                           "its operation must be one of insert, update, upsert, delete, got Integer"],
      "an unknown control" => [{ "headers" => { "control" => "up-to-date" } },
                               'its control must be one of snapshot-start, snapshot-end, reset, got "up-to-date"'],
      "a change without a type" => [{ "key" => "42", "value" => 1, "headers" => { "operation" => "insert" } },
                                    "its type must be a non-empty String, got NilClass"],
      "an empty type" => [partial.merge("type" => "", "headers" => { "operation" => "insert" }),
                          'its type must be a non-empty String, got ""'],
      "a key that is a number" => [partial.merge("key" => 42, "headers" => { "operation" => "delete" }),
                                   "its key must be a non-empty String, got Integer"],
      "an empty key" => [partial.merge("key" => "", "headers" => { "operation" => "update" }),
                         'its key must be a non-empty String, got ""'],
      "a change without a value" => [{ "type" => "order", "key" => "42", "headers" => { "operation" => "upsert" } },
                                     'its value is missing (type "order", key "42")'],
      "Symbols for Strings" => [{ type: "order", key: "42", value: 1, headers: { operation: "insert" } },
                                "its headers must be an object, got NilClass"]
    }.each do |name, (item, reason)|
      it "is skipped with a warning, or raises if the state is strict: #{name}" do
        expect(state.apply(item, offset: "0_12")).to be_nil
        expect(log_lines).to eq(["WARN durable_streams: state: skipped event at offset 0_12: #{reason}"])
        expect(state.to_h).to eq({})

        strict = described_class.new(strict: true)
        expect { strict.apply(item, offset: "0_12") }
          .to raise_error(DurableStreams::State::InvalidEventError, "event at offset 0_12: #{reason}") do |error|
            expect(error).to be_a(DurableStreams::DurableStreamError)
              .and have_attributes(event: item, offset: "0_12", code: "INVALID_EVENT", retryable?: false)
          end
        expect(strict.to_h).to eq({})
      end
    end

    it "is reported without an offset if nobody gave one" do
      state.apply(1)
      expect(log_lines).to eq(["WARN durable_streams: state: skipped event (its offset is not known): " \
                               "it must be an object, got Integer"])
    end

    it "does not put its value, nor all of a long key, into the log" do
      state = described_class.new(schemas: { "order" => ->(_value) { false } })
      state.apply(event("insert", "k" * 500, { "card" => "4111" }), offset: "0_1")
      expect(log_lines.join).to include("k" * 80)
      expect(log_lines.join).not_to match(/4111|k{81}/)
    end
  end

  describe "schemas" do
    let(:schemas) { { "order" => ->(value) { value["total"]&.positive? } } }

    it "refuse values, and the event is skipped with a warning" do
      state = described_class.new(schemas: schemas)
      state.apply(event("insert", "1", { "total" => 1 }))
      expect([-1, nil].map { |total| state.apply(event("update", "1", { "total" => total }), offset: "0_5") })
        .to eq([nil, nil])
      state.apply(event("insert", "1", { "total" => -1 }, type: "user"))
      expect(state.to_h).to eq("order" => { "1" => { "total" => 1 } }, "user" => { "1" => { "total" => -1 } })
      expect(log_lines).to eq(["WARN durable_streams: state: skipped event at offset 0_5: its schema refuses the " \
                               'value (type "order", key "1")'] * 2)
    end

    it "refuse values, and a strict state raises" do
      state = described_class.new(schemas: schemas, strict: true)
      expect { state.apply(event("insert", "1", { "total" => 0 }), offset: "0_5") }
        .to raise_error(DurableStreams::State::InvalidEventError, /\Aevent at offset 0_5: its schema refuses the value/)
      expect(state.to_h).to eq({})
    end

    it "do not see deletes" do
      state = described_class.new(schemas: schemas, entries: { "order" => { "1" => 1 } })
      expect(state.apply(event("delete", "1"))).to eq(:delete)
    end

    it "pass on what they raise, and the state does not change" do
      state = described_class.new(schemas: { "order" => ->(value) { value.fetch("total") } })
      expect { state.apply(event("insert", "1", {})) }.to raise_error(KeyError)
      expect(state.to_h).to eq({})
    end

    [{ "order" => true }, { order: -> {} }, { "" => -> {} }, []].each do |schemas|
      it "must have a type and a callable: #{schemas.inspect}" do
        expect { described_class.new(schemas: schemas) }
          .to raise_error(ArgumentError, /\Aschemas must be a Hash of types .* got /)
      end
    end
  end

  describe "reading" do
    before { state.apply(event("insert", "42", { "total" => 10, "items" => ["a"] })) }

    it "returns nil or nothing for what is not there" do
      expect([state["order", "1"], state["user", "42"]]).to eq([nil, nil])
      expect(state.of("user")).to eq({}).and be_frozen
    end

    it "refuses types and keys that are not Strings" do
      expect { state["order", 42] }.to raise_error(ArgumentError, "key must be a String, got 42 (Integer)")
      expect { state[:order, "42"] }.to raise_error(ArgumentError, "type must be a String, got :order (Symbol)")
      expect { state.of(:order) }.to raise_error(ArgumentError, "type must be a String, got :order (Symbol)")
    end

    it "returns values that nobody can change" do
      value = state["order", "42"]
      expect { value["total"] = 11 }.to raise_error(FrozenError)
      expect { value["items"] << "b" }.to raise_error(FrozenError)
      expect { value["items"].first << "b" }.to raise_error(FrozenError)
      expect { state.of("order").delete("42") }.to raise_error(FrozenError)
      expect { state.to_h["order"].clear }.to raise_error(FrozenError)
      expect { state.to_h.clear }.to raise_error(FrozenError)
    end

    it "returns the state of that moment, which later events do not change" do
      orders = state.of("order")
      all = state.to_h
      state.apply(event("insert", "43", 1))
      state.apply(event("delete", "42"))
      expect(orders).to eq("42" => { "total" => 10, "items" => ["a"] }).and eq(all["order"])
      expect(state.of("order")).to eq("43" => 1)
      all = state.to_h
      state.apply(control("reset"))
      expect(all).to eq("order" => { "43" => 1 })
    end

    it "copies nothing while there are no events" do
      expect(state.of("order")).to equal(state.of("order")).and equal(state.to_h["order"])
    end

    it "does not show values in inspect" do
      sizes = { "order" => 1 }
      expect(state.inspect).to eq("#<DurableStreams::State::Materialized #{sizes}>")
    end
  end

  describe "entries:" do
    it "is a state to begin with, also one that was saved as JSON" do
      3.times { |number| state.apply(event("insert", number.to_s, [number])) }
      saved = JSON.parse(JSON.generate(state.to_h))
      restored = described_class.new(entries: saved)
      restored.apply(event("delete", "1"))
      expect(restored.to_h).to eq("order" => { "0" => [0], "2" => [2] })
      expect(state.of("order").size).to eq(3)
      expect { restored["order", "0"] << 1 }.to raise_error(FrozenError)
    end

    it "has no types without values" do
      expect(described_class.new(entries: { "order" => {} }).types).to eq([])
    end

    [[], { "order" => 1 }, { order: {} }, { "" => {} }, { "order" => { 1 => 2 } }, { "order" => { "" => 2 } }]
      .each do |entries|
        it "must have the form of to_h: #{entries.inspect}" do
          expect { described_class.new(entries: entries) }
            .to raise_error(ArgumentError, /\Aentries must be a Hash of types and .*, as to_h returns it, got /)
        end
      end
  end

  describe "#on_change" do
    let(:changes) { [] }

    before { state.on_change { |change| changes << change } }

    it "gets every change with type, key, value, old value and operation" do
      state.apply(event("insert", "42", 1))
      state.apply(event("upsert", "42", 2))
      state.apply(event("delete", "42"))
      expect(changes.map { |change| change.to_h.slice(:operation, :type, :key, :value, :old_value) }).to eq(
        [{ operation: :insert, type: "order", key: "42", value: 1, old_value: nil },
         { operation: :upsert, type: "order", key: "42", value: 2, old_value: 1 },
         { operation: :delete, type: "order", key: "42", value: nil, old_value: 2 }]
      )
    end

    it "gets the event's old value only if the state had none" do
      state.apply(event("update", "1", 2, old_value: 1))
      state.apply(event("update", "1", 3, old_value: 99))
      state.apply(event("delete", "2", old_value: 7))
      state.apply(event("insert", "3", nil))
      state.apply(event("update", "3", 1, old_value: 99))
      expect(changes.map(&:old_value)).to eq([1, 2, 7, nil, nil])
    end

    it "gets the headers" do
      made = event("insert")
      made["headers"]["txid"] = "t1"
      state.apply(made)
      expect(changes.first.headers).to eq("operation" => "insert", "txid" => "t1")
    end

    it "gets a reset, and neither the marks of a snapshot nor what was skipped" do
      state.apply(control("snapshot-start"))
      state.apply(control("snapshot-end"))
      state.apply("junk")
      state.apply(control("reset"))
      expect(changes.map(&:to_h)).to eq([{ operation: :reset, type: nil, key: nil, value: nil, old_value: nil,
                                           headers: { "control" => "reset" } }])
    end

    it "gets frozen changes that can be matched" do
      state.apply(event("insert", "42", { "total" => +"10" }, old_value: { "total" => +"9" }))
      change = changes.first
      expect(Ractor.shareable?(change)).to be(true)
      matched = case change
                in { operation: :insert, type: "order", key:, value: } then [key, value]
                end
      expect(matched).to eq(["42", { "total" => "10" }])
    end

    it "is called when the state has changed, in the order of the callbacks, which may use the state" do
      seen = []
      state.on_change { |change| seen << state.of("order") << change.key }
      state.on_change { |change| state.apply(event("insert", "2", 2)) if change.key == "1" }
      state.apply(event("insert", "1", 1))
      expect(seen).to eq([{ "1" => 1 }, "1", { "1" => 1, "2" => 2 }, "2"])
      expect(changes.map(&:key)).to eq(%w[1 2])
    end

    it "raises what a callback raises; the change is applied" do
      later = []
      state.on_change { raise KeyError, "mine" }
      state.on_change { |change| later << change }
      expect { state.apply(event("insert", "1", 1)) }.to raise_error(KeyError, "mine")
      expect(state["order", "1"]).to eq(1)
      expect([changes.size, later.size]).to eq([1, 0])
    end

    it "returns the state, and requires a block" do
      expect(state.on_change { nil }).to equal(state)
      expect { state.on_change }.to raise_error(ArgumentError, "on_change requires a block")
    end
  end

  it "may be read by other threads while events are applied" do
    types = %w[a b c]
    applying = Thread.new do
      loop do
        20.times { |key| types.each { |type| state.apply(event("insert", key.to_s, [key.to_s], type: type)) } }
        state.apply(control("reset"))
      end
    end
    applying.report_on_exception = false
    # Lets another thread run between any two lines of each.
    switches = TracePoint.new(:line) { Thread.pass }
    sizes = switches.enable(target_thread: nil) do
      Array.new(300) do
        state.of("a").each { |key, value| raise "of another key: #{value}" unless value == [key] }
        all = state.to_h
        types.map { |type| all.fetch(type, {}).size }
      end
    end
    expect(applying).to be_alive
    # The types get their values one after another: a moment between two events has no other sizes than these.
    expect(sizes).to all(satisfy { |a, b, c| a >= b && b >= c && a - c <= 1 })
    expect(sizes.uniq.size).to be > 2
  ensure
    applying.kill.join
  end
end
