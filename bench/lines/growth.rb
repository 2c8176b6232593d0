# frozen_string_literal: true

module Bench
  # Whether a message takes the same time among many as among few, and memory does not grow.
  class Growth < Line
    line "growth", "growth: time a message among 10^3 to 10^6, memory over time"
    figure :e3, "10^3 messages", "ns"
    figure :e4, "10^4 messages", "ns"
    figure :e5, "10^5 messages", "ns"
    figure :e6, "10^6 messages", "ns"
    figure :flat, "10^6 against 10^4", "x", [:at_most, 1.25]
    figure :leak, "memory, second half of the time", "MB", [:at_most, 1]

    def prepare(url, client)
      # The reference client takes quadratic time: 10^5 messages would take an hour.
      sizes = [1_000, count(10_000, 2_000)]
      sizes = [1_000, 10_000, 100_000, count(1_000_000, 200_000)] unless client == "reference"
      sizes.each_index { |index| PlainHTTP.create("#{url}-#{index}") }
      PlainHTTP.create(url)
      super.merge("sizes" => sizes)
    end

    def work(params)
      times = params["sizes"].each_with_index.map { |size, index| nanoseconds(size, "#{params["url"]}-#{index}") }
      result = %i[e3 e4 e5 e6].zip(times).to_h.compact
      result[:flat] = result[:e6] / result[:e4] if result[:e6]
      result.merge(leak: leak(params))
    end

    def check(params)
      params["sizes"].each_with_index do |size, index|
        sent = Messages.array(Messages.json(size)).b
        ensure_equal PlainHTTP.read("#{params["url"]}-#{index}"), sent, "#{size} messages"
      end
    end

    def limit
      super + duration
    end

    private

    def nanoseconds(size, url)
      messages = Messages.json(size)
      producer = DurableStreams::Producer.new(url: url, producer_id: "bench")
      GC.start
      seconds = timed do
        messages.each { |message| producer.append(message) }
        producer.flush
      end
      producer.close
      seconds * 1e9 / size
    end

    # Appends and reads for some time. Measures how much the memory grows in the second half.
    def leak(params)
      stream = stream(params)
      message = Messages.json(1).first
      half = Measure.now + (duration / 2.0)
      work_until(half, stream, message)
      before = settled_memory
      work_until(half + (duration / 2.0), stream, message)
      settled_memory - before
    end

    def work_until(deadline, stream, message)
      while Measure.now < deadline
        offset = nil
        100.times { offset = stream.append(message).next_offset }
        stream.append(message)
        ensure_equal stream.read(offset: offset, format: :json).to_a.size, 1, "growth"
      end
    end

    def settled_memory
      3.times { GC.start }
      Measure.memory("VmRSS")
    end

    # Seconds. BENCH_SOAK=3600 makes it an hour.
    def duration
      Float(ENV.fetch("BENCH_SOAK", count(20, 2)))
    end
  end
end
