# frozen_string_literal: true

module Bench
  # Clocks, medians and the memory of this process.
  module Measure
    module_function

    # @return [Float] seconds of the monotonic clock
    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    # @return [Float] processor seconds, user and system, of all threads of this process
    def cpu
      Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
    end

    # @return [Float] the seconds that the block takes
    def seconds
      start = now
      yield
      now - start
    end

    # Marks the block for a profile, which ignores everything else, such as creating messages. See {Profile}.
    # @return [Object] the block's value
    def profiled
      command_perf("enable")
      yield
    ensure
      command_perf("disable")
    end

    # perf reads commands from one pipe and confirms them in another one.
    def command_perf(command)
      return unless ENV.key?("BENCH_PERF")

      folder = ENV.fetch("BENCH_PERF")
      File.write(File.join(folder, "commands"), "#{command}\n", mode: "a")
      File.open(File.join(folder, "done"), &:gets)
    end

    # @param values [Array<Numeric>]
    # @param part [Float] for example 0.5 for the median, 0.99 for the 99th percentile
    # @return [Numeric, nil]
    def quantile(values, part)
      sorted = values.sort
      return if sorted.empty?

      middle = (sorted.size - 1) * part
      low = sorted[middle.floor]
      low + ((sorted[middle.ceil] - low) * (middle - middle.floor))
    end

    # @param values [Array<Numeric>]
    # @return [Numeric, nil]
    def median(values)
      quantile(values, 0.5)
    end

    # @param name [String] a name of /proc: VmRSS (current) or VmHWM (peak)
    # @return [Float] megabytes of 10^6 bytes
    def memory(name)
      File.read("/proc/self/status")[/^#{name}:\s+(\d+) kB/, 1].to_i * 1024 / 1e6
    end

    # @return [Array<String>] the target of each open descriptor of this process, from /proc
    def descriptors
      Dir.children("/proc/self/fd").filter_map do |number|
        File.readlink("/proc/self/fd/#{number}")
      rescue Errno::ENOENT
        nil # the descriptor that read this folder
      end
    end

    # @return [Integer] established TCP connections of this process
    def connections
      sockets = descriptors.filter_map { |name| name[/\Asocket:\[(\d+)\]/, 1] }
      File.readlines("/proc/self/net/tcp").drop(1).count do |line|
        _, _, _, state, *, inode = line.split.first(10)
        state == "01" && sockets.include?(inode)
      end
    end

    # Measures the block's peak memory beyond the current memory of the process.
    # @return [Float] megabytes
    def peak_of
      GC.start
      before = memory("VmRSS")
      File.write("/proc/self/clear_refs", "5") # resets VmHWM
      yield
      [memory("VmHWM") - before, 0.0].max
    end

    # Returns once this process is idle: its threads have sent their requests and wait.
    def settle
      quiet = 0
      until quiet == 3
        before = cpu
        sleep 0.02
        quiet = cpu - before < 0.001 ? quiet + 1 : 0
      end
    end
  end
end
