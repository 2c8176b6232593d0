# frozen_string_literal: true

require "English"
require "rbconfig"

module Bench
  # The time of `require` and the memory after it, compared with a Ruby that loads nothing.
  class Loading < Line
    line "load", "load: require, and memory after it, beyond bare Ruby"
    figure :more_ms, "time", "ms", [:at_most, 10]
    figure :more_mb, "memory", "MB", [:at_most, 3]

    STATUS = "puts File.read('/proc/self/status')[/^VmRSS:\\s+(\\d+)/, 1]"

    # The measuring child loads no client. It starts other Rubies that do.
    def prepare(url, client)
      super.merge("bare" => true)
    end

    def work(_params)
      path = $LOAD_PATH.first
      starts = Array.new(count(15, 3)) { [start([]), start(["-I", path, "-rdurable_streams"])] }
      starts.shift # the first start fills the page cache
      bare, loaded = starts.transpose.map { |pairs| pairs.transpose.map { |values| Measure.median(values) } }
      { more_ms: (loaded[0] - bare[0]) * 1e3, more_mb: loaded[1] - bare[1] }
    end

    private

    # @return [Array] seconds, megabytes
    def start(arguments)
      output = nil
      seconds = Measure.seconds { output = IO.popen([RbConfig.ruby, *arguments, "-e", STATUS], &:read) }
      raise "a Ruby with #{arguments.join(" ")} did not start" unless $CHILD_STATUS.success?

      [seconds, output.to_i * 1024 / 1e6]
    end
  end
end
