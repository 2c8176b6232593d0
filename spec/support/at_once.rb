# frozen_string_literal: true

require_relative "gc_pressure"

# What "at once" means in examples.
#
# The library promises tenths of a second, of a machine that has nothing else to do. The machines that run the specs
# have: there a bound of that size says more about the scheduler than about the library. So examples are made such that
# what does not end at once takes very much longer (a pause of a minute, a server that never answers), and the bound
# only has to tell the two apart. The promise itself is measured on a quiet machine:
#
#   AT_ONCE=0.2 rspec spec/process/waiting_spec.rb spec/faults/closing_readers_spec.rb spec/process/interrupts_spec.rb
module AtOnce
  # Seconds.
  SECONDS = Float(ENV.fetch("AT_ONCE", "8")) * [GCPressure::SLOWER, 4].min
end
