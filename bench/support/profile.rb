# frozen_string_literal: true

require "open3"
require "tmpdir"

module Bench
  # Shows where a child's time goes: by perf, or where perf cannot count, by what its threads run and wait for, sampled
  # from /proc.
  class Profile
    # Samples a second.
    RATE = 997
    # perf's own lines of no interest, and functions below this part of the whole, are left out.
    LEAST = "0.5"

    def self.perf?
      _, status = Open3.capture2e("perf", "record", "-q", "-o", File::NULL, "--", "true")
      status.success?
    rescue Errno::ENOENT
      false
    end

    # @param children [Children]
    # @param line [Line]
    # @param params [Hash]
    # @param out [IO]
    def initialize(children, line, params, out: $stdout)
      @children = children
      @line = line
      @params = params
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
        record = ["perf", "record", "-q", "-g", "-F", RATE.to_s, "-o", data, "--"]
        @out.puts @children.run(@line, @params, before: record)
        report(data, "by thread and library", "--sort", "comm,dso")
        report(data, "by function", "--sort", "dso,symbol")
      end
    end

    def report(data, title, *options)
      text, = Open3.capture2("perf", "report", "--stdio", "--no-children", "-g", "none", "--percent-limit", LEAST,
                             "-i", data, *options, err: File::NULL)
      @out.puts "", title, text.lines.reject { |row| row.start_with?("#") || row.strip.empty? }.first(45)
    end

    # Which threads used the processor, and what those that did not were waiting for.
    def by_sampling
      samples = Hash.new(0)
      ended = false
      sampler = Thread.new { sample(samples) until ended }
      @out.puts @children.run(@line, @params)
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
