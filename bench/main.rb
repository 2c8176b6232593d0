# frozen_string_literal: true

require "optparse"
require "fileutils"
require "securerandom"
require_relative "../spec/support/server"
require_relative "lines"
require_relative "support/children"
require_relative "support/floors"
require_relative "support/report"
require_relative "support/profile"

module Bench
  # The program of bin/bench: measures every line several times, with each client and the floor, and prints the medians.
  class Main
    ROOT = File.expand_path("..", __dir__)

    def initialize(arguments)
      @runs = nil
      @quick = @profile = false
      @json = File.join(ROOT, "tmp", "bench.json")
      @clients = { "gem" => ENV.fetch("BENCH_LIB", File.join(ROOT, "lib")) }
      @clients["reference"] = File.expand_path(ENV["REFERENCE_LIB"]) if ENV["REFERENCE_LIB"]
      @lines = chosen(parser.parse(arguments))
      @runs ||= @quick ? 1 : 5
      @children = Children.new(@clients.merge("floor" => nil), quick: @quick)
      @floors = Floors.new(@children, quick: @quick)
    end

    # @return [Boolean] whether all figures of this gem were measured
    def run
      raise_file_limit
      return @lines.each { |line| profile(line) } && true if @profile

      report = Report.new
      @lines.each { |line| measure_or_skip(line, report) }
      puts report.table
      FileUtils.mkdir_p(File.dirname(@json))
      File.write(@json, JSON.pretty_generate(report.to_h))
      warn "All figures: #{@json}"
      !report.incomplete?
    end

    private

    def parser
      OptionParser.new("usage: bin/bench [options] [LINE...]") do |options|
        options.on("--quick", "small amounts, one run: tests the benchmark, measures nothing") { @quick = true }
        options.on("--runs N", Integer, "number of runs per figure (5)") { |runs| @runs = runs }
        options.on("--json FILE", "file for all figures (tmp/bench.json)") { |path| @json = File.expand_path(path) }
        options.on("--gem LIB", "lib folder of this gem (lib)") { |path| @clients["gem"] = File.expand_path(path) }
        options.on("--profile", "run the lines once, with this gem, and show where time is spent") { @profile = true }
        options.on("--list", "list the lines") do
          Line.all.each { |line| puts "#{line.id.ljust(15)} #{line.title}#{" (only if named)" if line.on_request?}" }
          exit
        end
      end
    end

    def chosen(ids)
      return Line.all.reject(&:on_request?) if ids.empty?

      ids.map do |id|
        Line.all.find { |line| line.id == id } or
          abort "bench: there is no line #{id}. Lines: #{Line.all.map(&:id).join(", ")}"
      end
    end

    def measure_or_skip(line, report)
      reason = line.unavailable
      return measure(line, report) unless reason

      warn "#{line.id}: skipped: #{reason}"
      report.skip(line, reason)
    end

    def measure(line, report)
      sides = @clients.keys.dup
      sides += ["floor"] unless line.instance_method(:floor).owner == Line
      @runs.times do |number|
        sides.dup.each do |side|
          warn "#{line.id}: run #{number + 1} of #{@runs}, #{side}"
          sides.delete(side) unless attempt(line, side, report)
        end
      end
    end

    # @return [Boolean] whether there were figures, so that another run makes sense
    def attempt(line, side, report)
      subject = line.new(quick: @quick)
      reason = subject.missing(side) unless side == "floor"
      figures = reason ? {} : with_server(subject) { |url| figures(subject, side, url) }
      report.miss(line, side, reason) if reason
      report.add(line, side, figures) unless figures.empty?
      !figures.empty?
    rescue Line::Unequal, Children::Failed, Floors::Failed, Nginx::StartError, TestServer::StartError => e
      warn "#{line.id}, #{side}: #{e.message}"
      report.miss(line, side, e.message.lines.first.to_s.strip)
      false
    end

    def figures(line, side, url)
      return line.floor(url, @floors) if side == "floor"

      params = line.prepare(url, side)
      @children.run(line, params).tap { line.check(params) }
    end

    def profile(line)
      subject = line.new(quick: @quick)
      missing = line.unavailable || subject.missing("gem")
      abort "bench: #{line.id}: #{missing}" if missing

      puts line.title
      with_server(subject) { |url| Profile.new(@children, subject, url).run }
    end

    # Starts a new server for the run, so that its memory has no data of other runs.
    def with_server(line)
      server = TestServer.start(durability: :memory, **line.server_options)
      front = line.front(server)
      yield "#{server.url}/bench/#{SecureRandom.hex(8)}"
    ensure
      front&.stop
      server&.stop
    end

    # Thousands of live reads need thousands of connections, in this process and in the server.
    def raise_file_limit
      Process.setrlimit(:NOFILE, Process.getrlimit(:NOFILE).last)
    end
  end
end

begin
  exit Bench::Main.new(ARGV).run
rescue OptionParser::ParseError => e
  abort "bench: #{e.message}"
rescue Interrupt
  abort "bench: interrupted"
end
