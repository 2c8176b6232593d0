# frozen_string_literal: true

require "open3"
require "tmpdir"
require_relative "plain_http"

module Bench
  # Measures what the machine and the server allow without a client library: requests by wrk (by bench/floor, a similar
  # loop, if wrk is not installed), downloads by curl, building objects by a Ruby without libraries.
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
    # @param connections [Integer] each with one request at a time
    # @param type [String] content type
    # @return [Hash] :p50 and :p99 in microseconds, :rate in requests a second
    # @raise [Failed]
    def post(url, body, connections:, type: "application/json")
      Dir.mktmpdir("durable-streams-bench-") do |folder|
        path = File.join(folder, "body")
        File.binwrite(path, body)
        requests(wrk? ? wrk(url, connections, path, type) : own(url, connections, path, type))
      end
    end

    # Repeats a GET.
    # @param url [String]
    # @param connections [Integer] each with one request at a time
    # @return [Hash] as of {#post}
    # @raise [Failed]
    def get(url, connections:)
      requests(wrk? ? wrk(url, connections) : own(url, connections))
    end

    # @return [Boolean] whether wrk is installed. Floors over TLS require it
    def wrk?
      return @wrk unless @wrk.nil?

      @wrk = ENV.fetch("PATH").split(File::PATH_SEPARATOR).any? { |folder| File.executable?(File.join(folder, "wrk")) }
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
