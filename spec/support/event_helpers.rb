# frozen_string_literal: true

require_relative "gc_pressure"

# Subscriptions of examples, which end with them.
#
#   seen = record_events("append.durable_streams")
#   stream.append(1)
#   seen.first.payload
module EventHelpers
  # The events that a subscriber got so far, and on which thread.
  class Recorder
    include Enumerable

    # Seconds to wait for an event of another thread.
    TIMEOUT = 20 * GCPressure::SLOWER

    # @return [EventSubscription]
    attr_reader :subscription

    def initialize(name, url)
      @url = url
      @lock = Mutex.new
      @changed = ConditionVariable.new
      @events = []
      @subscription = DurableStreams.subscribe(name) { |event| add(event) }
    end

    # @yieldparam event [DurableStreams::Event]
    def each(&block)
      to_a.each(&block)
    end

    # @return [Array<DurableStreams::Event>]
    def to_a
      @lock.synchronize { @events.map(&:first) }
    end

    # @return [Array<Thread>] the threads on which the events came
    def threads
      @lock.synchronize { @events.map(&:last) }
    end

    # @param name [String] without ".durable_streams"
    # @return [Array<DurableStreams::Event>]
    def named(name)
      select { |event| event.name == "#{name}.durable_streams" }
    end

    # @return [Array<String>] the names, without ".durable_streams"
    def names
      map { |event| event.name.delete_suffix(".durable_streams") }
    end

    # Waits until there are `count` events for which the block is true (of any kind without a block).
    # @return [Array<DurableStreams::Event>] these events
    def wait_for(count = 1, &block)
      deadline = Clock.now + TIMEOUT
      @lock.synchronize do
        loop do
          found = @events.map(&:first).select(&(block || :itself))
          return found if found.size >= count

          left = deadline - Clock.now
          raise "waited #{TIMEOUT} s for #{count} events; there are:\n#{@events.map(&:first).join("\n")}" if left <= 0

          @changed.wait(@lock, left)
        end
      end
    end

    private

    def add(event)
      return unless @url.nil? || event.payload[:url] == @url

      @lock.synchronize do
        @events << [event, Thread.current]
        @changed.broadcast
      end
    end
  end

  # @param name [String, Regexp, nil] as for DurableStreams.subscribe
  # @param url [String, nil] records events of this stream only: requests of earlier examples may end meanwhile
  # @return [Recorder]
  def record_events(name = nil, url: nil)
    Recorder.new(name, url).tap { |recorder| event_subscriptions << recorder.subscription }
  end

  # Subscribes until the example ends.
  # @return [DurableStreams::EventSubscription]
  def subscribe(name = nil, &block)
    DurableStreams.subscribe(name, &block).tap { |subscription| event_subscriptions << subscription }
  end

  # @api private
  def event_subscriptions
    @event_subscriptions ||= []
  end
end

RSpec.configure do |config|
  config.include EventHelpers
  config.after { event_subscriptions.each(&:unsubscribe) }
end
