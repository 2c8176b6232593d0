# frozen_string_literal: true

# A progress line for several counters on a terminal. Prints nothing if the output is not a terminal.
class ProgressBar
  WIDTH = 24
  # Seconds between two updates of the line.
  INTERVAL = 0.05

  # @param total [Integer] final value of all counters
  # @param names [Array<Symbol>] names of the counters
  # @param out [IO]
  def initialize(total, *names, out: $stderr)
    @total = total
    @counts = names.to_h { |name| [name, 0] }
    @out = out if out.tty?
    @lock = Mutex.new
    @drawn_at = 0.0
  end

  # Sets a counter. Any thread may call it.
  # @param name [Symbol] one of the names
  # @param count [Integer] its new value
  def update(name, count)
    @lock.synchronize do
      @counts[name] = count
      draw if @out && (now - @drawn_at >= INTERVAL || @counts.values.all?(@total))
    end
  end

  # Prints a line of text above the bar.
  # @param text [String]
  def say(text)
    @lock.synchronize do
      @out&.print("\r\e[K")
      $stdout.puts(text)
      $stdout.flush
      draw if @out
    end
  end

  # Removes the bar permanently; #say still works.
  def finish
    @lock.synchronize do
      @out&.print("\r\e[K")
      @out = nil
    end
  end

  private

  def draw
    @drawn_at = now
    bars = @counts.map do |name, count|
      full = count * WIDTH / @total
      "#{name} #{"█" * full}#{"░" * (WIDTH - full)} #{count}/#{@total}"
    end
    @out.print("\r\e[K#{bars.join("   ")}")
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
