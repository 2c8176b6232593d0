# frozen_string_literal: true

require_relative "moving_objects"

# Puts the garbage collector under pressure while specs run, as GC_PRESSURE says (see `rake spec:gc_stress`):
#
# stress::  a collection at every allocation inside the extension: minor ones, and full ones in every thirtieth call.
#           Outside of it Ruby's own code would take days.
# compact:: every full collection moves objects (auto_compact); after each example all that can be moved are, and every
#           reference is verified. To be started in MovingObjects::ENVIRONMENT, as rake does.
#
# It is also loaded into the programs that examples run (see ChildProcess), by itself. Does nothing where GC_PRESSURE is
# not set, the library is not loaded, or the platform cannot do it.
module GCPressure
  MODE = ENV.fetch("GC_PRESSURE", "none").to_sym
  # How much longer than usual everything may take. Examples that measure time, count collections or read very many
  # messages are left out: they are marked `without: :gc_pressure`.
  SLOWER = { stress: 20, compact: 4 }.fetch(MODE, 1)
  # In how many calls there is one with full collections, which take 50 times as long as minor ones.
  FULL_EVERY = 30
  # GC.stress: no full collections (bit 0).
  MINOR = 1
  # Where the library's own threads wait for work: for ever, and everything would be under stress for as long.
  IDLE = %i[serve_requests next_notice].freeze

  class << self
    # @return [Boolean] whether everything takes longer than it usually does
    def on?
      MODE != :none
    end

    # @return [Array<String>] what a Ruby program is started with to be under the same pressure
    def options
      on? ? ["-r", File.expand_path(__FILE__)] : []
    end

    # Begins.
    def start
      case MODE
      when :stress then wrap(DurableStreams::Native)
      when :compact then MovingObjects.always
      when :none then nil
      else raise ArgumentError, "GC_PRESSURE must be stress or compact, got #{MODE}"
      end
    end

    # What takes place after each example.
    def after_example
      MovingObjects.now if MODE == :compact
    end

    # Runs a native call.
    def stressed
      GC.stress = rand(FULL_EVERY).zero? ? true : MINOR
      yield
    ensure
      GC.stress = false
    end

    private

    # Puts a method of the same name in front of each of a native module's, and of its classes'. Not of Appends': what
    # it does itself allocates nothing, and for all else it calls Ruby code, which calls a Producer's methods.
    def wrap(native)
      wrap_methods(native.singleton_class, native.singleton_methods(false) - IDLE)
      native.constants.map { |name| native.const_get(name) }.grep(Class).each do |owner|
        wrap_methods(owner.singleton_class, owner.singleton_methods(false))
        wrap_methods(owner, owner.instance_methods(false))
      end
    end

    # From text, not blocks, so that other Ractors can call them.
    def wrap_methods(owner, names)
      texts = names.map { |name| "def #{name}(*arguments, &block) = GCPressure.stressed { super }" }
      owner.prepend(Module.new { module_eval(texts.join("\n"), __FILE__, __LINE__) })
    end
  end
end

if GCPressure.on? && defined?(DurableStreams)
  GCPressure.start
  if defined?(RSpec::Core)
    RSpec.configure do |config|
      config.filter_run_excluding without: :gc_pressure
      config.after { GCPressure.after_example }
    end
  end
end
