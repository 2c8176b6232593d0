# frozen_string_literal: true

require_relative "gc_pressure"

# How many seconds count as "at once" in examples.
#
# On an idle machine the library needs tenths of a second. The machines that run the specs are busy: a bound of tenths
# would test the operating system's scheduler. So the bound is seconds, and an operation that does not end at once takes
# far longer in these examples (a pause of a minute, a server that never responds). On an idle machine the real figure
# can be tested:
#
#   AT_ONCE=0.2 rspec spec/process/waiting_spec.rb spec/faults/closing_readers_spec.rb spec/process/interrupts_spec.rb
module AtOnce
  # Seconds.
  SECONDS = Float(ENV.fetch("AT_ONCE", "8")) * [GCPressure::SLOWER, 4].min
end
