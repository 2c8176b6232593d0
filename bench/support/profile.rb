# frozen_string_literal: true

require "open3"
require "tmpdir"

module Bench
  # Shows where a child spends its time: by perf, or, if perf cannot run, by sampling its threads in /proc.
  class Profile
    # Samples per second.
    RATE = 997
    # The profile omits entries below this percentage.
    LEAST = "0.5"
    # The counted events. perf has them without hardware counters too.
    EVENTS = "task-clock,context-switches,cpu-migrations,page-faults"
    # The maximal length of a row. Rust's names can be very long.
    WIDTH = 160

    def self.perf?
      _, status = Open3.capture2e("perf", "record", "-q", "-o", File::NULL, "--", "true")
      status.success?
    rescue Errno::ENOENT
      false
    end

    # @param children [Children]
    # @param line [Line]
    # @param url [String] prefix for the URLs of streams that no other run uses
    # @param out [IO]
    def initialize(children, line, url, out: $stdout)
      @children = children
      @line = line
      @url = url
      @out = out
    end

    # Runs the child and prints its figures and the profile.
    def run
      self.class.perf? ? by_perf : by_sampling
    end

    private

    def by_perf
      Dir.mktmpdir("durable-streams-profile-") do |folder|
        data = File.join(folder, "perf.data")
        counts = File.join(folder, "counts")
        control = control(folder)
        @out.puts run_child("count", before: ["perf", "stat", "-e", EVENTS, "-o", counts, *control, "--"])
        @out.puts "", "counts", File.readlines(counts).grep(/ # /)
        run_child("record", before: ["perf", "record", "-q", "-F", RATE.to_s, "-o", data, *control, "--"])
        report(data, "by thread and library", "comm,dso")
        report(data, "by function", "dso,symbol")
      end
    end

    # Options by which the child starts and stops counting: see {Measure.profiled}.
    def control(folder)
      pipes = %w[commands done].map { |name| File.join(folder, name).tap { |path| File.mkfifo(path) } }
      ENV["BENCH_PERF"] = folder
      ["--delay=-1", "--control=fifo:#{pipes.join(",")}"]
    end

    def run_child(name, **options)
      @children.run(@line, @line.prepare("#{@url}-#{name}", "gem"), **options)
    end

    def report(data, title, sort)
      text, = Open3.capture2("perf", "report", "--stdio", "--no-children", "--percent-limit", LEAST, "-i", data,
                             "--sort", sort, err: File::NULL)
      rows = text.lines.map(&:rstrip).reject { |row| row.start_with?("#") || row.empty? }
      rows = rows.first(45).map { |row| row.sub(/(\s+-)+\z/, "")[0, WIDTH] }
      @out.puts "", title, rows
    end

    # Samples which threads run and what the others wait for.
    def by_sampling
      samples = Hash.new(0)
      ended = false
      sampler = Thread.new { sample(samples) until ended }
      @out.puts run_child("sample")
      ended = true
      sampler.join
      total = samples.values.sum
      @out.puts "", "perf cannot run here. Samples of /proc: state, thread, kernel function in which it waits"
      samples.max_by(45) { |_, count| count }.each do |what, count|
        @out.puts "#{(100.0 * count / total).round(2).to_s.rjust(6)} %  #{what}"
      end
    end

    def sample(samples)
      descendants.each do |pid|
        Dir.glob("/proc/#{pid}/task/*").each do |task|
          name = File.read("#{task}/comm").chomp
          state = File.read("#{task}/stat")[/\) (\w)/, 1]
          samples["#{state}  #{name}  #{state == "R" ? "" : File.read("#{task}/wchan")}"] += 1
        rescue Errno::ENOENT, Errno::ESRCH, Errno::EACCES
          next # the thread has ended
        end
      end
      sleep 1.0 / RATE
    end

    def descendants
      File.read("/proc/self/task/#{Process.pid}/children").split
    end
  end
end
