# frozen_string_literal: true

# Has the garbage collector move objects, where the platform can. Loaded into programs that examples run, too.
#
# Before 3.3, Ruby looks at the word above the top of every thread's stack once it has moved objects, and crashes where
# that is left from an object whose memory went back to the system (pull request 7081 of ruby/ruby). In ENVIRONMENT no
# memory goes back. Under -W Ruby says that it is in it.
module MovingObjects
  # What a program is to be loaded with that has objects move by this.
  FILE = __FILE__
  # What a program is to run in that has objects move.
  ENVIRONMENT = (RUBY_VERSION < "3.3" ? { "RUBY_GC_HEAP_FREE_SLOTS_MAX_RATIO" => "1.0" } : {}).freeze
  # What Ruby says of that.
  SAID = /\ARUBY_GC_HEAP_FREE_SLOTS_MAX_RATIO=.*\n?/
  EXPAND = RUBY_VERSION < "3.2" ? :double_heap : :expand_heap

  class << self
    # Has every full collection move objects from now on.
    def always
      GC.auto_compact = true if GC.respond_to?(:auto_compact=)
    rescue NotImplementedError
      nil # This platform does not move objects.
    end

    # Moves every object that can be moved, and checks all references.
    # @return [true]
    def now
      options = { toward: :empty }
      options[EXPAND] = true if GC.stat(:heap_free_slots) < GC.stat(:heap_live_slots)
      GC.verify_compaction_references(**options)
      true
    rescue NotImplementedError
      true # as above
    end
  end
end
