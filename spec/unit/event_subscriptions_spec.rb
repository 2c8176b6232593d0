# frozen_string_literal: true

RSpec.describe DurableStreams, ".subscribe" do
  let(:events) { DurableStreams::Events }
  let(:logger) { double(error: nil) }

  def publish(name = "append", payload = {}, error = nil)
    events.publish("#{name}.durable_streams", Time.at(7), 0.5, payload, error)
  end

  # The names that a subscriber of `name` gets of all that exist.
  def matched(name)
    seen = record_events(name)
    events::NAMES.each { |one| events.publish(one, Time.now, 0.0, {}) }
    seen.subscription.unsubscribe
    seen.names
  end

  it "passes on the events whose name is the String, matches the Regexp, or all" do
    expect(matched("read.durable_streams")).to eq(%w[read])
    expect(matched(/connect\./)).to eq(%w[disconnect reconnect])
    expect(matched(/\Anothing/)).to eq([])
    expect(matched(nil)).to eq(%w[request retry append batch claim producer_failed read disconnect reconnect message
                                  claimed fenced])
  end

  it "passes on name, time, duration, payload and error" do
    error = IOError.new("disk")
    seen = record_events
    publish("append", { bytes: 1 }, error)
    event = seen.first
    expect(event).to have_attributes(name: "append.durable_streams", time: Time.at(7), duration: 0.5,
                                     payload: { bytes: 1 }, error: error)
    expect([event, event.name, event.payload]).to all(be_frozen)
    case event
    in { name:, payload: { bytes: } } then expect([name, bytes]).to eq(["append.durable_streams", 1])
    end
  end

  it "freezes a copy of a payload, not the payload itself" do
    record_events
    publish("append", payload = {})
    expect(payload).not_to be_frozen
  end

  it "ends with unsubscribe, which may be called again" do
    seen = record_events
    publish
    2.times { expect(seen.subscription.unsubscribe).to be_nil }
    publish
    expect(seen.count).to eq(1)
    expect(seen.subscription.inspect).to match(/EventSubscription nil \(unsubscribed\)/)
  end

  it "has any number of subscribers, in the order in which they subscribed" do
    order = []
    3.times { |number| subscribe { order << number } }
    publish
    expect(order).to eq([0, 1, 2])
  end

  it "lets a subscriber unsubscribe itself and others, and subscribe others, from the next event on" do
    order = []
    first = subscribe { order << :first }
    second = subscribe do
      order << :second
      second.unsubscribe
      first.unsubscribe
      third.unsubscribe
      subscribe { order << :new }
    end
    define_singleton_method(:third) { @third }
    @third = subscribe { order << :third }
    2.times { publish }
    expect(order).to eq(%i[first second new])
  end

  it "logs what a subscriber raises, and goes on with the next one" do
    allow(described_class).to receive(:logger).and_return(logger)
    subscribe { raise "mine" }
    subscribe { raise NotImplementedError, "yours" }
    seen = record_events
    publish
    expect(seen.count).to eq(1)
    ["RuntimeError: mine", "NotImplementedError: yours"].each do |text|
      expect(logger).to have_received(:error).with(/a subscriber of append.durable_streams raised #{text}/)
    end
  end

  it "does not rescue what ends the thread" do
    subscribe { Thread.exit }
    expect(Thread.new { publish && :went_on }.value).to be_nil
    subscribe { throw :out, :thrown }
    event_subscriptions.first.unsubscribe
    expect(catch(:out) { publish }).to eq(:thrown)
    seen = record_events
    event_subscriptions[1].unsubscribe
    publish
    expect(seen.count).to eq(1)
  end

  it "delivers no events of what a subscriber does" do
    depth = 0
    subscribe do
      depth += 1
      publish
    end
    publish
    publish
    expect(depth).to eq(2)
  end

  it "raises for a name that no event has, another object, or no block" do
    expect { described_class.subscribe("append") {} }
      .to raise_error(ArgumentError, /name must be a Regexp, nil or one of request.durable_streams, .*; got "append"/)
    expect { described_class.subscribe(:all) {} }
      .to raise_error(ArgumentError, /got Symbol/)
    expect { described_class.subscribe }.to raise_error(ArgumentError, "subscribe requires a block")
  end

  it "costs nothing to load before the first subscription" do
    loaded, = ChildProcess.outcome("print $LOADED_FEATURES.grep(/durable_streams.events/)")
    expect(loaded).to eq("[]")
  end

  describe "with the library's own events" do
    it "measures a block, and has its exception" do
      seen = record_events
      value = events.measure("message.durable_streams", payload = { stream: "/s" }) do
        payload[:offset] = "1"
        :value
      end
      expect(value).to eq(:value)
      expect { events.measure("message.durable_streams", {}) { raise IOError, "disk" } }.to raise_error(IOError)
      expect(seen.map(&:payload)).to eq([{ stream: "/s", offset: "1" }, {}])
      expect(seen.map(&:error)).to match([nil, be_a(IOError)])
      expect(seen.first).to have_attributes(time: be_within(60).of(Time.now), duration: be >= 0)
    end

    it "says whether anybody wants them" do
      expect(events.wanted?("claimed.durable_streams")).to be(false)
      record_events("claimed.durable_streams")
      expect(%w[claimed fenced].map { |name| events.wanted?("#{name}.durable_streams") }).to eq([true, false])
    end
  end
end
