# frozen_string_literal: true

require "digest"

module Bench
  # Measures how many of the items in `sent` a benchmark line reads per second. The first read is a warm-up.
  module ItemReading
    RUNS = 3

    def prepare(url, client)
      PlainHTTP.create(url)
      PlainHTTP.append_json(url, sent)
      super
    end

    def work(params)
      expected = nil
      times = Array.new(RUNS + 1) do
        items = nil
        GC.start
        seconds = timed { items = read(params) }
        expected ||= sent.map { |text| JSON.parse(text) }
        ensure_equal items, expected, self.class.id
        seconds
      end
      { rate: sent.size / Measure.median(times.drop(1)) }
    end
  end

  # Reads a JSON stream to its end, as Ruby objects.
  class JsonReading < Line
    include ItemReading

    line "read-json", "catch-up read of JSON items"
    figure :rate, "items", "/s", [:at_least, 0.95, :floors]

    def floor(url, floors)
      floors.ruby(self, url)
    end

    # Builds the same objects without parsing.
    def floor_work(_params)
      empty = ""
      type = "order.created"
      user = "user-12345"
      note = "n" * 33
      times = Array.new(RUNS + 1) do
        GC.start
        Measure.seconds do
          Array.new(sent.size) { |id| { "id" => id, "type" => +type, "user" => +user, "note" => note + empty } }
        end
      end
      { rate: sent.size / Measure.median(times.drop(1)) }
    end

    private

    def read(params)
      stream(params).read_all
    end

    def sent
      @sent ||= Messages.json(count(200_000, 20_000))
    end
  end

  # Reads a stream of bytes to its end.
  class BytesReading < Line
    line "read-bytes", "catch-up read of bytes"
    figure :rate, "bytes", "MB/s", [:at_least, 1.0, :floors]
    figure :batches, "peak memory, in batches", "x", [:at_most, 1.05]

    TYPE = "application/octet-stream"
    RUNS = 3

    def prepare(url, client)
      seed(url)
      super
    end

    def work(params)
      digest = Digest::SHA256.new
      Messages.blocks(megabytes).each { |block| digest << block }
      largest = 0
      peak = Measure.peak_of { read(params) { |chunk| largest = [largest, chunk.bytesize].max } }
      times = Array.new(RUNS) do
        GC.start
        timed { read(params) { nil } }
      end
      check_digest(params, digest)
      { rate: size / 1e6 / Measure.median(times), batches: peak * 1e6 / largest }
    end

    def floor(url, floors)
      seed(url)
      { rate: size / 1e6 / floors.download("#{url}?offset=-1", size) }
    end

    private

    def seed(url)
      PlainHTTP.create(url, TYPE)
      Messages.blocks(megabytes).each_slice(8) { |blocks| PlainHTTP.append(url, blocks.join, TYPE) }
    end

    def read(params)
      total = 0
      stream(params, TYPE).read(format: :bytes).each do |chunk|
        yield chunk.data
        total += chunk.data.bytesize
      end
      ensure_equal total, size, "length"
    end

    def check_digest(params, expected)
      actual = Digest::SHA256.new
      read(params) { |data| actual << data }
      ensure_equal actual.digest, expected.digest, "read-bytes"
    end

    def size
      megabytes * (1 << 20)
    end

    def megabytes
      count(256, 32)
    end
  end

  # Reads the first items of a large response.
  class FirstItems < Line
    line "first", "read_json.first(10) of a 50 MB response"
    figure :ms, "time", "ms", [:at_most, 5]
    figure :mb, "peak memory", "MB", [:at_most, 2]

    BYTES = 103

    def prepare(url, client)
      PlainHTTP.create(url)
      PlainHTTP.append_json(url, Messages.json(count(50_000_000, 5_000_000) / BYTES))
      PlainHTTP.append_json(PlainHTTP.create("#{url}-small"), Messages.json(20))
      super
    end

    def work(params)
      expected = Messages.json(10).map { |text| JSON.parse(text) }
      # Connects, and loads code that is loaded on first use.
      stream("url" => "#{params["url"]}-small").read(format: :json).each.first(10)
      items = nil
      peak = Measure.peak_of { items = stream(params).read(format: :json).each.first(10) }
      times = Array.new(count(7, 3)) { timed { items = stream(params).read(format: :json).each.first(10) } }
      ensure_equal items, expected, "first"
      { ms: Measure.median(times) * 1e3, mb: peak }
    end
  end
end
