# frozen_string_literal: true

class FaultServer
  # Named gates that scripts wait at and a spec opens. Who waits is woken through an IO, so that it can watch its socket
  # at the same time.
  class Gates
    def initialize
      @mutex = Mutex.new
      @permits = Hash.new(0)
      @open = {}
      @waiting = []
    end

    # Passes the gate if it may; never waits.
    def pass?(name)
      @mutex.synchronize do
        next true if @open[name]
        next false unless @permits[name].positive?

        @permits[name] -= 1
        true
      end
    end

    # Lets so many through, now or later.
    def release(name, times)
      @mutex.synchronize { @permits[name] += times }
      wake
    end

    # Lets everyone through, now and later.
    def open(name)
      @mutex.synchronize { @open[name] = true }
      wake
    end

    # Runs the block; meanwhile the bell gets a byte whenever a gate has changed.
    def listening(bell)
      @mutex.synchronize { @waiting << bell }
      yield
    ensure
      @mutex.synchronize { @waiting.delete(bell) }
    end

    private

    def wake
      @mutex.synchronize { @waiting.each { |bell| bell.write_nonblock(".", exception: false) } }
    end
  end
end
