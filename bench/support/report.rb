# frozen_string_literal: true

require "etc"
require "json"

module Bench
  # Collects the figures of all runs and formats their medians as a table and as JSON.
  class Report
    HEAD = ["work", "figure", "this gem", "reference", "floor", "gem : floor", "gem : ref.", "goal", "met"].freeze
    SIDES = %w[gem reference floor].freeze

    def initialize
      @figures = Hash.new { |lines, line| lines[line] = Hash.new { |sides, side| sides[side] = [] } }
      @notes = Hash.new { |lines, line| lines[line] = {} }
      @skipped = {}
    end

    # @param line [Class] of a Line
    # @param side [String] "gem", "reference" or "floor"
    # @param figures [Hash{Symbol => Numeric}] of one run
    def add(line, side, figures)
      @figures[line][side] << figures
    end

    # @param line [Class] of a Line
    # @param side [String]
    # @param reason [String] why figures are missing
    def miss(line, side, reason)
      @notes[line][side] = reason
    end

    # @param line [Class] of a Line
    # @param reason [String] why this machine cannot measure it
    def skip(line, reason)
      @skipped[line] = reason
    end

    # @return [Boolean] whether figures of this gem are missing
    def incomplete?
      @notes.any? { |_, sides| sides.key?("gem") }
    end

    # @return [String] the table in Markdown, followed by notes about missing figures
    def table
      rows = lines.flat_map { |line| line.figures.map { |figure| row(line, figure) } }
      widths = [HEAD, *rows].transpose.map { |cells| cells.map(&:size).max }
      drawn = [HEAD, widths.map { |width| "-" * width }, *rows].map do |cells|
        "| #{cells.zip(widths).map { |cell, width| cell.ljust(width) }.join(" | ")} |"
      end
      (drawn + notes).join("\n")
    end

    # @return [Hash] all figures, for JSON
    def to_h
      { machine: machine, lines: lines.to_h { |line| [line.id, line_to_h(line)] },
        skipped: @skipped.transform_keys(&:id) }
    end

    private

    def lines
      Line.all.select { |line| @figures.key?(line) || @notes.key?(line) }
    end

    def row(line, figure)
      gem, reference, floor = SIDES.map { |side| median(line, side, figure) }
      first = figure.equal?(line.figures.first)
      [first ? line.title : "", figure.label, *[gem, reference, floor].map { |value| figure.format_value(value) },
       ratio(gem, floor), ratio(gem, reference), figure.goal || "-", mark(figure.met?(gem, floor))]
    end

    def median(line, side, figure)
      return if @notes[line].key?(side)

      Measure.median(@figures[line][side].map { |run| run[figure.key] }.compact)
    end

    def ratio(value, other)
      return "-" if value.nil? || other.nil? || !other.positive? || value.negative?

      quotient = value / other
      format(quotient.abs < 10 ? "%.2f" : "%.0f", quotient)
    end

    def mark(met)
      { true => "yes", false => "NO", nil => "" }[met]
    end

    def notes
      missing = lines.flat_map do |line|
        @notes[line].map { |side, reason| "#{line.id}, #{side}: no figure: #{reason}" }
      end
      missing + @skipped.map { |line, reason| "#{line.id}: skipped: #{reason}" }
    end

    def line_to_h(line)
      figures = line.figures.to_h do |figure|
        sides = SIDES.to_h { |side| [side, median(line, side, figure)] }
        runs = SIDES.to_h { |side| [side, @figures[line][side].map { |run| run[figure.key] }] }
        [figure.key, { label: figure.label, unit: figure.unit, goal: figure.goal, medians: sides, runs: runs,
                       met: figure.met?(sides["gem"], sides["floor"]) }]
      end
      { title: line.title, figures: figures, missing: @notes[line] }
    end

    def machine
      { at: Time.now.utc.strftime("%FT%TZ"), ruby: RUBY_DESCRIPTION, processors: Etc.nprocessors,
        processor: File.read("/proc/cpuinfo")[/^model name\s*: (.*)$/, 1], kernel: Etc.uname[:release] }
    end
  end
end
