# frozen_string_literal: true

# Measures time with a clock that only goes forward, and that all processes of a machine share.
module Clock
  module_function

  # @return [Float] seconds since some fixed moment
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

RSpec.configure { |config| config.include Clock } if defined?(RSpec::Core)
