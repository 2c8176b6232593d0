# frozen_string_literal: true

module Bench
  # One quantity that a line measures: its name, unit and goal, and how they are printed.
  class Figure
    # Decimal places of each unit; 0 for other units.
    PLACES = { "ms" => 2, "ns" => 0, "µs" => 1, "MB" => 1, "x" => 2 }.freeze

    # @return [Symbol]
    attr_reader :key
    # @return [String]
    attr_reader :label, :unit

    # @param key [Symbol] its key in the line's hashes
    # @param label [String]
    # @param unit [String]
    # @param goal [Array, nil] [:at_most | :at_least, Numeric] or [:at_most | :at_least, Numeric, :floors]
    def initialize(key, label, unit, goal = nil)
      @key = key
      @label = label
      @unit = unit
      @side, @bound, @of = goal
    end

    # @return [Boolean] whether the goal is a multiple of the floor
    def relative?
      @of == :floors
    end

    # @param value [Numeric, nil]
    # @param floor [Numeric, nil]
    # @return [Boolean, nil] whether the goal is met; nil if there is no goal or a value is missing
    def met?(value, floor)
      return if value.nil? || @side.nil? || (relative? && floor.nil?)

      bound = relative? ? @bound * floor : @bound
      @side == :at_most ? value <= bound : value >= bound
    end

    # @return [String, nil]
    def goal
      return unless @side

      sign = @side == :at_most ? "≤" : "≥"
      relative? ? "#{sign} #{@bound} x floor" : "#{sign} #{format_value(@bound)}"
    end

    # @param value [Numeric, nil]
    # @return [String]
    def format_value(value)
      return "-" if value.nil?

      whole, fraction = format("%.#{PLACES.fetch(@unit, 0)}f", value).split(".")
      whole = whole.gsub(/(?<=\d)(?=(\d{3})+\z)/, ",")
      "#{fraction ? "#{whole}.#{fraction}" : whole} #{@unit}"
    end
  end
end
