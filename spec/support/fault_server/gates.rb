# frozen_string_literal: true

class FaultServer
  # Named gates at which scripted responses wait until a spec opens them. A waiting connection is woken through an IO,
  # so that it can watch its socket at the same time.
  class Gates
    def initialize
      @mutex = Mutex.new
      @permits = Hash.new(0)
      @open = {}
      @waiting = []
    end

    # Passes the gate if it is open or a release is available. Never waits.
    def pass?(name)
      @mutex.synchronize do
        next true if @open[name]
        next false unless @permits[name].positive?

        @permits[name] -= 1
        true
      end
    end

    # Lets this many responses pass, now or later.
    def release(name, times)
      @mutex.synchronize { @permits[name] += times }
      wake
    end

    # Lets all responses pass, now and later.
    def open(name)
      @mutex.synchronize { @open[name] = true }
      wake
    end

    # Runs the block. Meanwhile every change of a gate writes a byte to the notifier.
    def notifying(notifier)
      @mutex.synchronize { @waiting << notifier }
      yield
    ensure
      @mutex.synchronize { @waiting.delete(notifier) }
    end

    private

    def wake
      @mutex.synchronize { @waiting.each { |notifier| notifier.write_nonblock(".", exception: false) } }
    end
  end
end
