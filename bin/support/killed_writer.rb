# frozen_string_literal: true

require "rbconfig"
require_relative "../../examples/restartable_writer"

# The demo's second part: kills a process that writes with a producer, and starts another that continues.
class KilledWriter
  LIB = File.expand_path("../../lib", __dir__)
  PROGRAM = File.expand_path("writer.rb", __dir__)
  MESSAGES = 300_000

  # @param client [DurableStreams::Client]
  # @param events [Events] contents of the messages
  # @param path [String] file of the events
  # @param say [#call] prints a line of text
  # @param figure [#call] formats a number
  def initialize(client, events, path, say:, figure:)
    @client = client
    @path = path
    @count = [MESSAGES, events.size].max
    @say = say
    @figure = figure
  end

  # @return [Boolean] whether every message is stored once, in order
  def run
    stored = kill_writer
    @say.call("  It was killed with -9 after #{@figure.call(stored)} were stored. Messages in its memory are lost. " \
              "Another writer starts.")
    writer = start
    written = Integer(writer.gets)
    seconds = Float(writer.gets)
    writer.close
    @say.call("  It claimed the next epoch, found #{@figure.call(written)} messages and wrote the other " \
              "#{@figure.call(@count - written)} in #{format("%.2f", seconds)} s: " \
              "#{@figure.call(((@count - written) / seconds).round)} messages a second, acknowledged.")
    verify
  end

  private

  def start
    IO.popen([RbConfig.ruby, "-I", LIB, PROGRAM, @stream.url, @path, @count.to_s])
  end

  # @return [Integer] how many messages the stream has afterwards, those in flight at the kill included
  def kill_writer
    attempt = 0
    loop do
      @stream = @client.create("/demo/written-#{attempt += 1}", content_type: :json)
      @say.call("A process writes #{@figure.call(@count)} messages to #{@stream.url}, with a producer.")
      writer = start
      wait_for(@count / 4)
      Process.kill(:KILL, writer.pid)
      writer.close
      stored = messages.count
      return stored if stored < @count

      @say.call("  It finished before it could be killed. Trying again with twice as many messages.")
      @count *= 2
    end
  end

  # Follows the stream until it has this number of messages.
  def wait_for(number)
    stored = 0
    @stream.read(live: :long_poll) { |reader| reader.find { |batch| (stored += batch.items.size) >= number } }
  end

  # @return [Enumerable<Array>] pairs of number and event
  def messages
    @stream.read_json.lazy.reject { |item| RestartableWriter.marker?(item) }
  end

  def verify
    times = Array.new(@count, 0)
    last = -1
    disorder = 0
    messages.each do |number, _|
      times[number] += 1
      disorder += 1 if number < last
      last = number
    end
    missing = times.count(0)
    twice = times.count { |stored| stored > 1 }
    @say.call("  Read back: #{@figure.call(times.sum)} messages, #{missing} missing, #{twice} twice, " \
              "#{disorder} out of order.")
    [times.sum, missing, twice, disorder] == [@count, 0, 0, 0]
  end
end
