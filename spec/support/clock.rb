# frozen_string_literal: true

# Measures time with CLOCK_MONOTONIC, which never goes backwards and is the same in all processes of a machine.
module Clock
  module_function

  # @return [Float] seconds since an arbitrary fixed time
  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # @return [Float] seconds that the block took
  def timed
    started = now
    yield
    now - started
  end
end

RSpec.configure { |config| config.include Clock } if defined?(RSpec.configure)
