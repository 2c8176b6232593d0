# frozen_string_literal: true

require "open3"
require "tmpdir"
require_relative "measure"
require_relative "plain_http"

module Bench
  # Measures what the machine and the server allow without a client library: requests by wrk (by bench/floor, a similar
  # loop, if wrk is not installed) or h2load, downloads by curl, building objects by a Ruby without libraries.
  class Floors
    # A program that measures a floor is missing or failed.
    class Failed < StandardError; end

    CRATE = File.expand_path("../floor", __dir__)
    # Has wrk print exact figures. Its own report rounds them.
    WRK = <<~LUA
      local path = os.getenv("BENCH_BODY")
      if path then
        wrk.method = "POST"
        wrk.headers["Content-Type"] = os.getenv("BENCH_TYPE")
        local file = io.open(path, "rb")
        wrk.body = file:read("*a")
        file:close()
      end
      done = function(summary, latency)
        local failed = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout
        print(string.format("FIGURES %f %f %f %d", latency:percentile(50), latency:percentile(99),
          summary.requests / summary.duration * 1e6, failed))
      end
    LUA

    # The figures that curl prints.
    CURL = "%{time_total} %{size_download}" # rubocop:disable Style/FormatStringToken -- curl's own

    # @param children [Children]
    # @param quick [Boolean]
    def initialize(children, quick:)
      @children = children
      @seconds = quick ? 1 : 2
    end

    # Repeats a POST with the same body.
    # @param url [String] of a stream
    # @param body [String]
    # @param connections [Integer] each with one request at a time; with HTTP/2, streams of one connection
    # @param type [String] content type
    # @param http2 [Boolean] whether to use HTTP/2, by h2load
    # @return [Hash] :p50 and :p99 in microseconds, :rate in requests a second
    # @raise [Failed]
    def post(url, body, connections:, type: "application/json", http2: false)
      Dir.mktmpdir("durable-streams-bench-") do |folder|
        path = File.join(folder, "body")
        File.binwrite(path, body)
        repeat(url, connections, http2, path, type)
      end
    end

    # Repeats a GET.
    # @param url [String]
    # @param connections [Integer] as of {#post}
    # @param http2 [Boolean] as of {#post}
    # @return [Hash] as of {#post}
    # @raise [Failed]
    def get(url, connections:, http2: false)
      repeat(url, connections, http2)
    end

    # @return [Boolean] whether wrk is installed. Floors over TLS require it
    def wrk?
      installed?("wrk")
    end

    # @return [Boolean] whether h2load is installed. Floors by HTTP/2 require it
    def h2load?
      installed?("h2load")
    end

    # @param url [String]
    # @param size [Integer] expected bytes
    # @return [Float] the seconds that curl takes
    def download(url, size)
      output, status = Open3.capture2("curl", "-sS", "-o", File::NULL, "-w", CURL, url)
      seconds, received = output.split.map(&:to_f)
      raise Failed, "curl: #{output}" unless status.success? && received == size

      seconds
    end

    # Runs a line's `floor_work` in a Ruby that has loaded no client.
    # @return [Hash{Symbol => Numeric}]
    def ruby(line, url)
      @children.run(line, { "url" => url, "client" => "floor" })
    end

    private

    def installed?(program)
      ENV.fetch("PATH").split(File::PATH_SEPARATOR).any? { |folder| File.executable?(File.join(folder, program)) }
    end

    def repeat(url, connections, http2, body = nil, type = nil)
      return h2load(url, connections, body, type) if http2

      requests(wrk? ? wrk(url, connections, body, type) : own(url, connections, body, type))
    end

    # h2load reports no median, but logs every request: when it began, its status, and its microseconds.
    def h2load(url, streams, body, type)
      Dir.mktmpdir("durable-streams-bench-") do |folder|
        log = File.join(folder, "requests")
        post = ["-d", body, "-H", "content-type: #{type}"] if body
        run({}, "h2load", "-c1", "-m#{streams}", "-D#{@seconds}", "--log-file=#{log}", *post, url)
        _, statuses, times = File.readlines(log).map { |line| line.split.map(&:to_i) }.transpose
        raise Failed, "requests of h2load failed" unless statuses&.all?(200..204)

        { p50: Measure.median(times), p99: Measure.quantile(times, 0.99), rate: times.size / @seconds.to_f }
      end
    end

    def wrk(url, connections, body = nil, type = nil)
      Dir.mktmpdir("durable-streams-bench-") do |folder|
        script = File.join(folder, "requests.lua")
        File.write(script, WRK)
        run({ "BENCH_BODY" => body, "BENCH_TYPE" => type },
            "wrk", "-t1", "-c#{connections}", "-d#{@seconds}s", "-s", script, url)
      end
    end

    def own(url, connections, body = nil, type = nil)
      @own ||= begin
        run({}, "cargo", "build", "--quiet", "--release", "--manifest-path", File.join(CRATE, "Cargo.toml"))
        File.join(CRATE, "target", "release", "floor")
      end
      run({}, @own, url, connections.to_s, @seconds.to_s, *body, *type)
    end

    def run(environment, *command)
      output, status = Open3.capture2e(environment, *command)
      raise Failed, "#{command.first}: #{output}" unless status.success?

      output
    end

    def requests(output)
      found = output[/^FIGURES (.*)$/, 1] or raise Failed, output
      p50, p99, rate, failed = found.split.map(&:to_f)
      raise Failed, "#{failed.to_i} requests of the floor failed" unless failed.zero?

      { p50: p50, p99: p99, rate: rate }
    end
  end
end
