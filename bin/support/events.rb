# frozen_string_literal: true

require "json"
require "open3"

# The demo's events: a file of JSON lines, read line by line.
class Events
  include Enumerable

  # @param path [String] a file with one JSON value per line; empty lines are skipped
  # @raise [ArgumentError] if the file cannot be read, a line is not JSON, or there are fewer than two events
  def initialize(path)
    @path = path
    raise ArgumentError, "#{path} is not a readable file" unless File.file?(path) && File.readable?(path)

    @size = 0
    File.foreach(path, encoding: "UTF-8").with_index(1) { |line, number| @size += 1 if event?(line, number) }
    raise ArgumentError, "#{path} has #{@size} events: the demo needs at least two" if @size < 2
  end

  # @return [Integer] number of events
  attr_reader :size

  # @return [Integer] size of the file in bytes
  def bytes
    File.size(@path)
  end

  # @yieldparam line [String] an event as in the file
  def each
    return enum_for(:each) { size } unless block_given?

    File.foreach(@path, chomp: true, encoding: "UTF-8") { |line| yield line unless line.strip.empty? }
  end

  # Writes a git repository's history as events, oldest first: one for each commit and for each file that it changed.
  # @param repository [String] folder of the checkout
  # @param path [String] the file to write
  # @raise [ArgumentError] if there is no history
  def self.from_git(repository, path)
    log, error, status = Open3.capture3(
      "git", "-C", repository, "log", "--reverse", "--numstat", "--no-renames", "--format=%x00%H%x00%an%x00%aI%x00%s"
    )
    raise ArgumentError, "no git history (#{error.strip}): give a file of events" unless status.success?

    File.write(path, git_events(log.force_encoding("UTF-8").scrub).map { |event| "#{JSON.generate(event)}\n" }.join)
  end

  def self.git_events(log)
    commit = nil
    log.each_line(chomp: true).reject(&:empty?).map do |line|
      if line.start_with?("\0")
        _, commit, author, date, subject = line.split("\0", 5)
        { type: "commit", commit: commit, author: author, date: date, subject: subject }
      else
        added, removed, file = line.split("\t", 3)
        { type: "change", commit: commit, file: file, added: added.to_i, removed: removed.to_i }
      end
    end
  end
  private_class_method :git_events

  private

  def event?(line, number)
    return false if line.strip.empty?

    JSON.parse(line)
    true
  rescue JSON::ParserError
    raise ArgumentError, "#{@path}, line #{number} is not JSON: #{line.strip[0, 60]}"
  end
end
