# frozen_string_literal: true

require_relative "moving_objects"

# Makes the garbage collector work hard while specs run, as the environment variable GC_PRESSURE says (see
# `rake spec:gc_stress`):
#
# stress::  collects at every allocation inside the extension: minor collections, and full ones in every thirtieth call.
#           Outside the extension this would take days.
# compact:: every full collection moves objects (auto_compact). After each example, all objects that can move are moved
#           and every reference is verified. Must run in MovingObjects::ENVIRONMENT, which rake sets.
#
# ChildProcess also loads this file, by itself, into the programs that examples run. It does nothing if GC_PRESSURE is
# not set, the library is not loaded, or the platform does not support it.
module GCPressure
  MODE = ENV.fetch("GC_PRESSURE", "none").to_sym
  # How many times as long everything may take. Examples that measure time, count collections or read very many messages
  # do not run: they have `without: :gc_pressure`.
  SLOWER = { stress: 20, compact: 4 }.fetch(MODE, 1)
  # One of this many calls has full collections, which take 50 times as long as minor ones.
  FULL_EVERY = 30
  # Value of GC.stress without full collections (bit 0).
  MINOR = 1
  # Methods in which the library's own threads wait for work. They wait indefinitely, so that GC.stress would never end.
  IDLE = %i[serve_requests next_notice].freeze

  class << self
    # @return [Boolean] whether the garbage collector is under pressure, so that everything takes longer
    def on?
      MODE != :none
    end

    # @return [Array<String>] options that put another Ruby program under the same pressure
    def options
      on? ? ["-r", File.expand_path(__FILE__)] : []
    end

    # Starts the pressure.
    def start
      case MODE
      when :stress then wrap(DurableStreams::Native)
      when :compact then MovingObjects.enable
      when :none then nil
      else raise ArgumentError, "GC_PRESSURE must be stress or compact, got #{MODE}"
      end
    end

    # Runs after each example.
    def after_example
      MovingObjects.compact if MODE == :compact
    end

    # Runs a native method with collections.
    def stressed
      GC.stress = rand(FULL_EVERY).zero? ? true : MINOR
      yield
    ensure
      GC.stress = false
    end

    private

    # Prepends a method of the same name to every method of the native module and its classes.
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
