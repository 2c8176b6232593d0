# frozen_string_literal: true

require "io/console"

# A progress line for several counters on a terminal. Prints nothing if the output is not a terminal.
class ProgressBar
  # The widest bar, in columns.
  WIDTH = 24
  # Between two bars.
  GAP = "   "
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
    width = bar_width
    bars = @counts.map do |name, count|
      full = count * width / @total
      "#{name} #{"█" * full}#{"░" * (width - full)} #{count}/#{@total}"
    end
    @out.print("\r\e[K#{bars.join(GAP)}")
  end

  # The line must fit: a terminal does not erase a line that it has wrapped.
  def bar_width
    text = @counts.keys.sum { |name| name.size + (2 * @total.to_s.size) + 3 } + (GAP.size * (@counts.size - 1))
    ((@out.winsize.last - 1 - text) / @counts.size).clamp(0, WIDTH)
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
