# frozen_string_literal: true

require "durable_streams/state"

# Random histories of changes, the same for the same seed, with values that JavaScript's numbers hold exactly.
class RandomHistory
  TYPES = ["order", "user", "Bestellung ä", "漢字", "__proto__", "constructor", "a/b?c#d", " "].freeze
  KEYS = ["1", "2", "10", "toString", "__proto__", "ключ", "😀", "a b\n\"c\"", "\u2028", "0"].freeze
  TEXTS = ["", "text", "é", "😀", "\u0000", "\u2028", "\"\\/", "1", "null", "a" * 500].freeze
  NUMBERS = [0, 1, -1, 42, 1.5, -0.25, 1e21, 1e-7, (2**53) - 1, -(2**53) + 1].freeze
  NAMES = ["id", "a", "b", "", "__proto__", "length", "ü"].freeze

  def initialize(seed, length)
    @random = Random.new(seed)
    @length = length
  end

  # @return [Array<Hash>] changes (operation:, type:, key:, value:, old_value:, txid:, timestamp:) and controls
  #   (control:, offset:)
  def to_a
    Array.new(@length) { one_in(20) ? control : change }
  end

  private

  def control
    { control: pick(%i[snapshot_start snapshot_end reset]), **(one_in(2) ? { offset: "0_#{@random.rand(100)}" } : {}) }
  end

  def change
    operation = pick(%i[insert update upsert delete delete])
    step = { operation: operation, type: pick(TYPES.first(@random.rand(1..8))), key: pick(KEYS) }
    step[:value] = value(3) unless operation == :delete
    step[:old_value] = { "id" => 1, "was" => value(1) } if %i[update delete].include?(operation) && one_in(3)
    step[:txid] = "t#{@random.rand(100)}" if one_in(3)
    step[:timestamp] = Time.at(@random.rand(2_000_000_000)).utc if one_in(3)
    step
  end

  def value(depth)
    case @random.rand(depth.zero? ? 5 : 9)
    when 0 then nil
    when 1 then one_in(2)
    when 2, 3 then pick(TEXTS)
    when 4 then pick(NUMBERS)
    when 5, 6 then Array.new(@random.rand(4)) { value(depth - 1) }
    else Array.new(@random.rand(5)) { [pick(NAMES), value(depth - 1)] }.to_h
    end
  end

  def pick(list)
    list[@random.rand(list.size)]
  end

  def one_in(number)
    @random.rand(number).zero?
  end
end

description = "DurableStreams::State and the JavaScript package @durable-streams/state"
ServerHelpers.skipped << description if JavaScriptState.missing
JavaScriptState.missing || on_each_server(description) do
  let(:stream) { DurableStreams.create(unique_url, content_type: :json) }
  let(:javascript) { JavaScriptState.shared }

  def write_in_ruby(history)
    DurableStreams::Producer.open(stream: stream, producer_id: "ruby", max_batch_items: 50) do |producer|
      writer = DurableStreams::State::Writer.new(producer)
      history.each { |step| write_step(writer, **step) }
    end
  end

  def write_step(writer, operation: nil, control: nil, type: nil, key: nil, value: nil, **options)
    case operation
    when nil then writer.control(control, **options)
    when :delete then writer.delete(type, key, **options)
    else writer.public_send(operation, type, key, value, **options)
    end
  end

  def write_in_javascript(history)
    javascript.write(stream.url, history.map { |step| for_javascript(**step) })
  end

  def for_javascript(control: nil, offset: nil, old_value: nil, txid: nil, timestamp: nil, **change)
    return { headers: { control: control.to_s.tr("_", "-"), offset: offset }.compact } if control

    change[:oldValue] = old_value if old_value
    change.merge(headers: { txid: txid, timestamp: timestamp&.strftime("%Y-%m-%dT%H:%M:%SZ") }.compact)
  end

  # What the history means: for each type, its pairs of key and value in their order. The types have no order.
  def meaning(history)
    state = Hash.new { |types, type| types[type] = {} }
    history.each do |step|
      case step[:operation]
      when nil then state.clear if step[:control] == :reset
      when :delete then state[step[:type]].delete(step[:key])
      else state[step[:type]][step[:key]] = step[:value]
      end
    end
    state.transform_values(&:to_a).reject { |_type, pairs| pairs.empty? }
  end

  def materialized_in_ruby
    state = DurableStreams::State::Materialized.new(strict: true)
    DurableStreams::State.follow(stream, state: state, live: :off).to_h.transform_values(&:to_a)
  end

  def materialized_in_javascript
    javascript.materialize(stream.url).to_h
  end

  (1..10).each do |seed|
    context "with the random history #{seed}" do
      let(:history) { RandomHistory.new(seed, 300).to_a }

      it "have the same state of what Ruby writes" do
        write_in_ruby(history)
        expect(materialized_in_javascript).to eq(meaning(history))
        expect(materialized_in_ruby).to eq(meaning(history))
      end

      it "have the same state of what JavaScript writes" do
        write_in_javascript(history)
        expect(materialized_in_ruby).to eq(meaning(history))
        expect(materialized_in_javascript).to eq(meaning(history))
      end
    end
  end

  it "write equal events" do
    history = RandomHistory.new(11, 300).to_a
    write_in_ruby(history)
    ruby_events = stream.read_all
    write_in_javascript(history)
    javascript_events = stream.read_all.drop(ruby_events.size)
    # The Node server adds an offset of its own to these events when they are read, or replaces it.
    [ruby_events, javascript_events].each { |events| events.each { |event| event["headers"].delete("offset") } }
    expect(ruby_events.size).to eq(300)
    expect(javascript_events).to eq(ruby_events)
  end
end
