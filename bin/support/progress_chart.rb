# frozen_string_literal: true

# A chart of several counts over time: a line of bars for each, and a line for each event.
class ProgressChart
  LEVELS = "▁▂▃▄▅▆▇█".chars.freeze

  # @param total [Integer] final value of all counts
  def initialize(total)
    @total = total
    @samples = Hash.new { |samples, name| samples[name] = [] }
    @marks = []
  end

  # Adds a column.
  # @param counts [Hash{Symbol => Integer}] the value of each count; the same names each time
  def sample(**counts)
    counts.each { |name, count| @samples[name] << count }
  end

  # Adds an event at the current column.
  # @param text [String]
  def mark(text)
    @marks << [@samples.each_value.map(&:size).max || 0, text]
  end

  # @return [Array<String>]
  def lines
    width = @samples.each_key.map(&:size).max
    bars = @samples.map { |name, counts| "#{name.to_s.ljust(width)}  #{counts.map { |count| bar(count) }.join}" }
    bars + @marks.map { |column, text| "#{" " * (width + 2 + column)}↑ #{text}" }
  end

  private

  def bar(count)
    LEVELS[[count * LEVELS.size / @total, LEVELS.size - 1].min]
  end
end
