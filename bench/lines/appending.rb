# frozen_string_literal: true

module Bench
  # Appends one after another. Each waits for its response.
  class Appending < Line
    line "append", "append, one at a time, 100-byte JSON"
    figure :p50, "p50", "µs", [:at_most, 1.2, :floors]
    figure :p99, "p99", "µs", [:at_most, 1.2, :floors]

    BYTES = 100

    def prepare(url, client)
      PlainHTTP.create(url)
      super
    end

    def work(params)
      stream = stream(params)
      warm_up, messages = sent.each_slice(sent.size / 2).to_a
      warm_up.each { |message| stream.append(message) }
      times = Measure.profiled { messages.map { |message| Measure.seconds { stream.append(message) } } }
      { p50: Measure.median(times) * 1e6, p99: Measure.quantile(times, 0.99) * 1e6 }
    end

    def check(params)
      ensure_equal PlainHTTP.read(params["url"]), Messages.array(sent).b, "append"
    end

    def floor(url, floors)
      PlainHTTP.create(url)
      floors.post(url, Messages.array(Messages.json(1, bytes: BYTES)), connections: 1).slice(:p50, :p99)
    end

    private

    def sent
      @sent ||= Messages.json(count(10_000, 1_000), bytes: BYTES)
    end
  end

  # Appends of many threads at the same time, through a shared handle.
  class ThreadedAppending < Line
    include Requests

    line "append-threads", "append, 32 threads, 100-byte JSON"
    figure :shared, "one handle, shared", "/s", [:at_least, 2.0, :floors]
    figure :queue, "round trips through Ruby's Queue", "/s"

    THREADS = 32

    def prepare(url, client)
      PlainHTTP.create(url)
      super
    end

    def work(params)
      lists = Array.new(THREADS) { |thread| messages(thread) }
      { shared: concurrent_appends(Array.new(THREADS, stream(params)), lists)[:rate] }
    end

    # Only the messages of one thread have a fixed order.
    def check(params)
      read = JSON.parse(PlainHTTP.read(params["url"])).group_by { |item| (item["id"] - Messages::FIRST_ID) / each }
      THREADS.times do |thread|
        expected = messages(thread).map { |text| JSON.parse(text) }
        ensure_equal read[thread], expected, "thread #{thread}"
      end
    end

    def floor(url, floors)
      PlainHTTP.create(url)
      rate = floors.post(url, Messages.array(messages(0).first(1)), connections: THREADS)[:rate]
      { shared: rate, **floors.ruby(self, url) }
    end

    # The minimum that Ruby needs for threads that wait for each message: they push it to another thread, which only
    # confirms it.
    def floor_work(_params)
      received = Queue.new
      confirmations = Array.new(THREADS) { Queue.new }
      receiver = Thread.new { while (thread = received.pop) do confirmations[thread].push(true) end }
      threads = confirmations.each_with_index.map do |queue, thread|
        Thread.new do
          queue.pop
          each.times { received.push(thread) && queue.pop }
        end
      end
      Measure.settle
      seconds = Measure.seconds do
        confirmations.each { |queue| queue.push(true) }
        threads.each(&:join)
      end
      received.close
      receiver.join
      { queue: THREADS * each / seconds }
    end

    private

    # @return [Integer] the number of messages of one thread
    def each
      count(5_000, 200)
    end

    def messages(thread)
      Messages.json(each, bytes: 100, first: thread * each)
    end
  end

  # Appends of many threads at the same time, through a handle each: every append is a request of its own. Beside it,
  # what Ruby itself allows: threads with a plain socket each.
  class HandleAppending < Line
    include Requests

    line "append-handles", "append, 32 threads, a handle each, 100-byte JSON"
    figure :rate, "appends", "/s", [:at_least, 0.8, :floors]
    figure :cpu, "processor time an append", "µs"
    figure :bare, "by Ruby threads with a socket each", "/s"
    figure :bare_cpu, "their processor time an append", "µs"

    THREADS = 32

    def prepare(url, client)
      PlainHTTP.create(url)
      super
    end

    def work(params)
      concurrent_appends(Array.new(threads) { stream(params) }, sent)
    end

    def check(params)
      read = JSON.parse(PlainHTTP.read(params["url"])).map { |item| item["id"] }
      ensure_equal read.sort, sent.flatten.map { |text| JSON.parse(text)["id"] }, self.class.id
    end

    def floor(url, floors)
      wrk(url, floors).merge(floors.ruby(self, url))
    end

    def floor_work(params)
      connections = Array.new(threads) { BareConnection.new(params["url"]) }
      concurrent_appends(connections, sent).transform_keys(rate: :bare, cpu: :bare_cpu)
    end

    private

    def threads
      self.class::THREADS
    end

    def wrk(url, floors)
      PlainHTTP.create(url)
      floors.post(url, Messages.array(sent.first.first(1)), connections: threads).slice(:rate)
    end

    def sent
      @sent ||= Messages.json(threads * count(2_000, 100), bytes: 100).each_slice(count(2_000, 100)).to_a
    end
  end
end
