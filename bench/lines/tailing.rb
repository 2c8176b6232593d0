# frozen_string_literal: true

module Bench
  # The time from an append to its delivery to a live read in the same process.
  class Tailing < Line
    line "tail", "live tail, append to delivery"
    figure :long_poll, "long-poll, p50", "µs", [:at_most, 1.0, :floors]
    figure :sse, "SSE, p50", "µs", [:at_most, 1.0, :floors]

    def prepare(url, client)
      super.merge("sse" => PlainHTTP.create("#{url}-sse"), "url" => PlainHTTP.create(url))
    end

    def work(params)
      { long_poll: latency(params["url"], :long_poll), sse: latency(params["sse"], :sse) }
    end

    # The minimum: a request that appends and one that reads.
    def floor(url, floors)
      PlainHTTP.create(url)
      two = 2 * floors.post(url, Messages.array(Messages.json(1, bytes: 100)), connections: 1)[:p50]
      { long_poll: two, sse: two }
    end

    private

    def latency(url, mode)
      delivered = Queue.new
      reader = stream("url" => url).read(live: mode, format: :json)
      tail = Thread.new { reader.each { |item| delivered << [Measure.now, item] } }
      tail.report_on_exception = true
      writer = stream("url" => url)
      messages = Messages.json(count(2_000, 200), bytes: 100)
      times = Measure.profiled { messages.map { |message| deliver(writer, message, delivered) } }
      reader.close
      tail.join(5) || tail.kill
      Measure.median(times.drop(times.size / 4)) * 1e6
    end

    def deliver(writer, message, delivered)
      start = Measure.now
      writer.append(message)
      at, item = delivered.pop
      ensure_equal item, JSON.parse(message), "tail"
      at - start
    end
  end

  # Reads a JSON stream to its end by SSE, and beside it without SSE.
  class SseReading < Line
    include ItemReading

    line "sse", "SSE catch-up of items"
    figure :rate, "items", "/s"
    figure :share, "compared with a read without SSE", "x", [:at_least, 0.6]

    def work(params)
      @live = :sse
      rate = super[:rate]
      @live = :off
      { rate: rate, share: rate / super[:rate] }
    end

    private

    def read(params)
      stream(params).read(live: @live, format: :json).each.first(sent.size)
    end

    def sent
      @sent ||= Messages.json(count(50_000, 5_000))
    end
  end

  # Many threads wait for the same append.
  class FanOut < Line
    line "fan-out", "200 threads long-polling one stream, one append"
    figure :ms, "append to last delivery", "ms", [:at_most, 1.0, :floors]
    figure :cpu, "processor time a delivery", "µs", [:at_most, 1.0, :floors]
    figure :mb, "memory of the process", "MB", [:at_most, 60]

    THREADS = 200

    def prepare(url, client)
      PlainHTTP.create(url)
      super
    end

    # The same number of Ruby threads, each with a socket.
    def floor(url, floors)
      PlainHTTP.create(url)
      floors.ruby(self, url)
    end

    def floor_work(params)
      delivered = Queue.new
      THREADS.times do
        tail = BareConnection.new(params["url"])
        Thread.new { tail.tail { |item| delivered << [Measure.now, item] } }.report_on_exception = true
      end
      rounds(BareConnection.new(params["url"]), delivered)
    end

    def work(params)
      delivered = Queue.new
      readers = Array.new(THREADS) { stream(params).read(live: :long_poll, format: :json) }
      readers.each { |reader| Thread.new { reader.each { |item| delivered << [Measure.now, item] } } }
      figures = rounds(stream(params), delivered)
      readers.each(&:close)
      figures
    end

    private

    def rounds(writer, delivered)
      rounds = Measure.profiled { Messages.json(count(20, 4)).map { |message| deliver(writer, message, delivered) } }
      times, cpu = rounds.drop(1).transpose.map { |values| Measure.median(values) }
      { ms: times * 1e3, cpu: cpu * 1e6 / THREADS, mb: Measure.memory("VmHWM") }
    end

    # @return [Array<Float>] seconds to the last delivery, processor seconds
    def deliver(writer, message, delivered)
      Measure.settle
      cpu = Measure.cpu
      start = Measure.now
      writer.append(message)
      deliveries = Array.new(THREADS) { delivered.pop }
      cpu = Measure.cpu - cpu
      expected = JSON.parse(message)
      deliveries.each { |_, item| ensure_equal item, expected, "fan-out" }
      [deliveries.map(&:first).max - start, cpu]
    end
  end
end
