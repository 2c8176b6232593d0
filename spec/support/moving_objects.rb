# frozen_string_literal: true

# Makes the garbage collector move objects, on platforms that can. Also loaded into programs that examples run.
#
# Before 3.3, Ruby reads the word above the top of every thread's stack after it has moved objects. It crashes if that
# word still refers to an object whose memory was returned to the system (pull request 7081 of ruby/ruby). In
# ENVIRONMENT no memory is returned. With -W Ruby prints a warning about that environment.
module MovingObjects
  # The file to load into a program in which objects are to move.
  FILE = __FILE__
  # The environment variables of a program in which objects are to move.
  ENVIRONMENT = (RUBY_VERSION < "3.3" ? { "RUBY_GC_HEAP_FREE_SLOTS_MAX_RATIO" => "1.0" } : {}).freeze
  # Ruby's warning about ENVIRONMENT.
  WARNING = /\ARUBY_GC_HEAP_FREE_SLOTS_MAX_RATIO=.*\n?/
  EXPAND = RUBY_VERSION < "3.2" ? :double_heap : :expand_heap

  class << self
    # Makes every full collection move objects from now on.
    def enable
      GC.auto_compact = true if GC.respond_to?(:auto_compact=)
    rescue NotImplementedError
      nil # This platform does not move objects.
    end

    # Moves every object that can move, and verifies all references.
    # @return [true]
    def compact
      options = { toward: :empty }
      options[EXPAND] = true if GC.stat(:heap_free_slots) < GC.stat(:heap_live_slots)
      GC.verify_compaction_references(**options)
      true
    rescue NotImplementedError
      true # This platform does not move objects.
    end
  end
end
