# frozen_string_literal: true

module Bench
  # Many live reads in one thread, under a Fiber scheduler.
  class FiberTails < Line
    line "fibers", "tails in one thread under a Fiber scheduler"
    figure :tails, "complete tails", "tails"
    figure :ms, "append to last delivery", "ms"
    figure :mb, "memory of the process", "MB"
    figure :kb, "memory a tail", "kB", [:at_most, 40]

    SCHEDULER = File.expand_path("../../spec/support/small_scheduler.rb", __dir__)

    def missing(client)
      return "scheduler missing" unless File.file?(SCHEDULER)

      "cannot" if client == "reference"
    end

    def prepare(url, client)
      PlainHTTP.create(url)
      super
    end

    def work(params)
      require SCHEDULER
      @delivered = Array.new(tails) { [] }
      @arrivals = Queue.new
      @readers = []
      before = Measure.memory("VmRSS")
      thread = Thread.new { SmallScheduler.run { tails.times { |number| tail(number, params) } } }
      messages = Messages.json(3)
      times = Measure.profiled { messages.map { |message| deliver(params, message) } }
      memory = Measure.memory("VmHWM")
      finish(thread, messages)
      { tails: tails, ms: times.last * 1e3, mb: memory, kb: (memory - before) * 1e3 / tails }
    end

    private

    def finish(thread, messages)
      @readers.each(&:close)
      thread.join
      expected = messages.map { |text| JSON.parse(text) }
      @delivered.each { |items| ensure_equal items, expected, "fibers" }
    end

    def tail(number, params)
      Fiber.schedule do
        reader = own_stream(number, params).read(live: :long_poll, format: :json)
        @readers << reader
        reader.each do |item|
          @delivered[number] << item
          @arrivals << Measure.now
        end
      end
    end

    # Tails whose requests differ share none, like those that follow different streams. The server ignores the
    # parameter.
    def own_stream(number, params)
      query = { "tail" => number.to_s }
      DurableStreams::Stream.new(params.fetch("url"), content_type: "application/json", params: query)
    end

    def deliver(params, message)
      Measure.settle
      start = Measure.now
      PlainHTTP.append_json(params["url"], [message])
      Array.new(tails) { @arrivals.pop }.max - start
    end

    def tails
      count(2_000, 200)
    end
  end
end
