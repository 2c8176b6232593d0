# frozen_string_literal: true

require "open3"
require "tmpdir"

module Bench
  # Shows where a child's time goes: by perf, or where perf cannot count, by what its threads run and wait for, sampled
  # from /proc.
  class Profile
    # Samples a second.
    RATE = 997
    # What is below this part of the whole, in percent, is left out.
    LEAST = "0.5"
    # What is counted; perf has these where it has no hardware counters, too.
    EVENTS = "task-clock,context-switches,cpu-migrations,page-faults"
    # Rust's names can be very long.
    WIDTH = 160

    def self.perf?
      _, status = Open3.capture2e("perf", "record", "-q", "-o", File::NULL, "--", "true")
      status.success?
    rescue Errno::ENOENT
      false
    end

    # @param children [Children]
    # @param line [Line]
    # @param url [String] of streams that nobody else uses, which names are added to
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

    # Options that leave it to the child to say when to count: see {Measure.profiled}.
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

    # Which threads used the processor, and what those that did not were waiting for.
    def by_sampling
      samples = Hash.new(0)
      ended = false
      sampler = Thread.new { sample(samples) until ended }
      @out.puts run_child("sample")
      ended = true
      sampler.join
      total = samples.values.sum
      @out.puts "", "perf is not to be had here; samples of /proc: state, thread, kernel function it waits in"
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
          next # it ended meanwhile
        end
      end
      sleep 1.0 / RATE
    end

    def descendants
      File.read("/proc/self/task/#{Process.pid}/children").split
    end
  end
end
