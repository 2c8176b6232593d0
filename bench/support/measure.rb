# frozen_string_literal: true

module Bench
  # Clocks, medians and the memory of this process.
  module Measure
    module_function

    # @return [Float] seconds of a clock that only goes forward
    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    # @return [Float] processor seconds of all threads of this process, user and system
    def cpu
      Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
    end

    # @return [Float] how many seconds the block took
    def seconds
      start = now
      yield
      now - start
    end

    # Marks what is to be profiled: what goes on outside, such as making messages, is of no interest. See {Profile}.
    # @return [Object] the block's value
    def profiled
      tell_perf("enable")
      yield
    ensure
      tell_perf("disable")
    end

    # perf reads commands from one pipe and says in the other that they are done.
    def tell_perf(command)
      return unless ENV.key?("BENCH_PERF")

      folder = ENV.fetch("BENCH_PERF")
      File.write(File.join(folder, "commands"), "#{command}\n", mode: "a")
      File.open(File.join(folder, "done"), &:gets)
    end

    # @param values [Array<Numeric>]
    # @param part [Float] 0.5 is the median, 0.99 what 99 of 100 are below
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

    # @param name [String] VmRSS (now) or VmHWM (the most so far), of /proc
    # @return [Float] megabytes of 10^6 bytes
    def memory(name)
      File.read("/proc/self/status")[/^#{name}:\s+(\d+) kB/, 1].to_i * 1024 / 1e6
    end

    # @return [Array<String>] what each open descriptor of this process is, as /proc has it
    def descriptors
      Dir.children("/proc/self/fd").filter_map do |number|
        File.readlink("/proc/self/fd/#{number}")
      rescue Errno::ENOENT
        nil # the one that the folder was read with
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

    # What the block needs beyond what the process has now, at its worst moment.
    # @return [Float] megabytes
    def peak_of
      GC.start
      before = memory("VmRSS")
      File.write("/proc/self/clear_refs", "5") # VmHWM starts anew
      yield
      [memory("VmHWM") - before, 0.0].max
    end

    # Returns once this process has done nothing for a while: its threads have sent their requests and wait.
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
