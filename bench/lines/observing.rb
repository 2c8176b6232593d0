# frozen_string_literal: true

module Bench
  # Appends and a producer, alternately without a subscriber of events and with one that gets all of them. An earlier
  # build, which has no events, has only the figures without.
  class Observing < Line
    line "instrumentation", "events: append of 100-byte JSON, and a producer"
    figure :append, "append, p50, no subscriber", "µs"
    figure :append_observed, "append, p50, one subscriber", "µs"
    figure :produce, "append of the producer itself, no subscriber", "ns"
    figure :produce_observed, "append of the producer itself, one subscriber", "ns"

    ROUNDS = 5

    def prepare(url, client)
      super.merge("produced" => PlainHTTP.create("#{url}-produced"), "url" => PlainHTTP.create(url))
    end

    def work(params)
      append, append_observed = alternate(appended, &appender(params))
      produce, produce_observed = alternate(produced, &producer(params))
      { append: append, append_observed: append_observed, produce: produce, produce_observed: produce_observed }
    end

    def check(params)
      ensure_equal PlainHTTP.read(params["url"]), Messages.array(appended).b, "append"
      ensure_equal PlainHTTP.read(params["produced"]), Messages.array(produced).b, "producer"
    end

    private

    # Calls the block with parts of the messages. The first part warms up.
    # @return [Array<Float, nil>] the medians of what it returns, without and with a subscriber
    def alternate(messages)
      parts = messages.each_slice(messages.size / (1 + (2 * ROUNDS))).to_a
      yield parts.shift
      values = { false => [], true => [] }
      parts.each_with_index do |part, index|
        observed = observable? && index.odd?
        subscription = DurableStreams.subscribe { |event| event } if observed
        values[observed].concat(yield(part))
        subscription&.unsubscribe
      end
      values.values.map { |of_all_parts| Measure.median(of_all_parts) }
    end

    def observable?
      DurableStreams.respond_to?(:subscribe)
    end

    # @return [Proc] returns the microseconds of each append
    def appender(params)
      stream = stream(params)
      ->(part) { part.map { |message| Measure.seconds { stream.append(message) } * 1e6 } }
    end

    # @return [Proc] returns the nanoseconds that an append takes on average
    def producer(params)
      producer = DurableStreams::Producer.new(url: params["produced"], producer_id: "bench")
      lambda do |part|
        GC.start
        seconds = Measure.seconds { part.each { |message| producer.append(message) } }
        producer.flush
        [seconds * 1e9 / part.size]
      end
    end

    def appended
      @appended ||= Messages.json((1 + (2 * ROUNDS)) * count(1_000, 50), bytes: 100)
    end

    def produced
      @produced ||= Messages.json((1 + (2 * ROUNDS)) * count(50_000, 1_000))
    end
  end
end
