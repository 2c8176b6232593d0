# frozen_string_literal: true

module Bench
  # Reads of a stream with one item, one after another.
  class SmallReading < Line
    include Requests

    line "small-read", "read of one item of 100 bytes"
    figure :p50, "p50", "µs", [:at_most, 1.3, :floors]
    figure :p99, "p99", "µs"
    figure :cpu, "processor time a read", "µs"

    def prepare(url, client)
      PlainHTTP.append_json(PlainHTTP.create(url), sent)
      super
    end

    def work(params)
      stream = stream(params)
      expected = sent.map { |text| JSON.parse(text) }
      each_timed(Array.new(count(6_000, 1_000), expected)) do |items|
        ensure_equal stream.read(format: :json).to_a, items, "small-read"
      end
    end

    def floor(url, floors)
      PlainHTTP.append_json(PlainHTTP.create(url), sent)
      floors.get("#{url}?offset=-1", connections: 1).slice(:p50, :p99)
    end

    private

    def sent
      Messages.json(1, bytes: 100)
    end
  end

  # The descriptors and connections that many threads with their own handles use.
  class Descriptors < HandleAppending
    line "descriptors", "append, 16 threads with a handle each, 100-byte JSON"
    figure :rate, "appends", "/s", [:at_least, 0.8, :floors]
    figure :cpu, "processor time an append", "µs"
    figure :files, "open descriptors", "", [:at_most, 52]
    figure :connections, "connections", ""

    THREADS = 16

    def work(params)
      counts = nil
      figures = concurrent_appends(Array.new(threads) { stream(params) }, sent) do
        counts = { files: Measure.descriptors.size, connections: Measure.connections }
      end
      figures.merge(counts)
    end

    def floor(url, floors)
      wrk(url, floors)
    end
  end

  # Single requests over TLS 1.3, through nginx. Both clients trust the certificate in SSL_CERT_FILE. The floor is that
  # of wrk, which supports only HTTP/1.1. For HTTP/2 it is that of h2load, if that is installed.
  class OverTls < Line
    include Requests

    THREADS = 16
    FIGURES = [[:append, "append, p50", "µs", [:at_most, 1.3, :floors]],
               [:append_cpu, "processor time an append", "µs"],
               [:read, "read of one item, p50", "µs", [:at_most, 1.3, :floors]],
               [:read_cpu, "processor time a read", "µs"],
               [:rate, "16 threads that append, a handle each", "/s", [:at_least, 0.77, :floors]],
               [:rate_cpu, "processor time an append by one of them", "µs"],
               [:connections, "their connections", ""]].freeze

    # An abstract class, not a line.
    Line.all.delete(self)

    class << self
      def unavailable
        "nginx is not installed (bin/setup installs it)" unless Nginx.program
      end

      # @return [Boolean] whether the line uses HTTP/2
      attr_reader :http2

      private

      def over(id, name, http2:)
        line id, "over TLS 1.3, #{name}, through nginx"
        FIGURES.each { |figure| self.figure(*figure) }
        @http2 = http2
      end
    end

    def front(server)
      @front = TlsFront.start(server, http2: self.class.http2)
    end

    def prepare(url, client)
      PlainHTTP.append_json(PlainHTTP.create("#{url}-read"), sent.first(1))
      %w[append threads].each { |name| PlainHTTP.create("#{url}-#{name}") }
      super.merge("tls" => over_tls(url), "ca_file" => @front.ca_file)
    end

    def work(params)
      ENV["SSL_CERT_FILE"] = params["ca_file"]
      append, read, threads = %w[append read threads].map { |name| "#{params["tls"]}-#{name}" }
      handle = stream("url" => append)
      appends = each_timed(sent) { |message| handle.append(message) }
      reads = small_reads(stream("url" => read))
      handles = Array.new(THREADS) { stream("url" => threads) }
      connections = nil
      measured = concurrent_appends(handles, sent.each_slice(sent.size / THREADS).first(THREADS)) do
        connections = Measure.connections
      end
      { append: appends[:p50], append_cpu: appends[:cpu], read: reads[:p50], read_cpu: reads[:cpu],
        rate: measured[:rate], rate_cpu: measured[:cpu], connections: connections }
    end

    def check(params)
      ensure_equal PlainHTTP.read("#{params["url"]}-append"), Messages.array(sent).b, self.class.id
      read = JSON.parse(PlainHTTP.read("#{params["url"]}-threads")).map { |item| item["id"] }
      ensure_equal read.sort, sent.map { |text| JSON.parse(text)["id"] }, self.class.id
    end

    def floor(url, floors)
      http2 = self.class.http2 && floors.h2load?
      return {} unless http2 || floors.wrk?

      PlainHTTP.append_json(PlainHTTP.create("#{url}-read"), sent.first(1))
      read = floors.get("#{over_tls(url)}-read?offset=-1", connections: 1, http2: http2)
      append, rate = [1, THREADS].map { |connections| posts(url, floors, connections, http2) }
      { append: append[:p50], read: read[:p50], rate: rate[:rate] }
    end

    private

    def posts(url, floors, connections, http2)
      name = "floor-#{connections}"
      PlainHTTP.create("#{url}-#{name}")
      body = Messages.array(sent.first(1))
      floors.post("#{over_tls(url)}-#{name}", body, connections: connections, http2: http2)
    end

    def over_tls(url)
      @front.url + URI(url).path
    end

    def small_reads(stream)
      items = [JSON.parse(sent.first)]
      each_timed(sent) { ensure_equal stream.read(format: :json).to_a, items, self.class.id }
    end

    def sent
      @sent ||= Messages.json(count(4_000, 400), bytes: 100)
    end
  end

  # See {OverTls}.
  class OverTlsHttp1 < OverTls
    over "tls", "HTTP/1.1", http2: false
  end

  # See {OverTls}.
  class OverTlsHttp2 < OverTls
    over "tls-http2", "HTTP/2", http2: true
  end
end
