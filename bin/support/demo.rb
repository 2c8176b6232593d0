# frozen_string_literal: true

require "tmpdir"
require_relative "../../examples/checkpointed_tail"
require_relative "../../spec/support/server"
require_relative "events"
require_relative "killed_writer"
require_relative "progress_bar"

# Run by bin/demo: appends events to a stream on a real server while a reader follows it, kills the reader half way,
# lets a new one resume, and checks that every event arrived once and in order. Then does the same with a writer: see
# KilledWriter.
class Demo
  ROOT = File.expand_path("../..", __dir__)
  # Part of the events after the kill that is appended while no reader follows.
  UNREAD_PART = 0.2

  # @param path [String, nil] a file of JSON lines; nil: the history of this repository
  # @return [Boolean] whether all checks succeeded
  def self.run(path)
    Dir.mktmpdir("durable-streams-demo-") do |folder|
      unless path
        path = File.join(folder, "history.jsonl")
        Events.from_git(ROOT, path)
      end
      server = TestServer.start(durability: :wal, data_dir: File.join(folder, "data"))
      begin
        new(path, server.url, folder).run
      ensure
        server.kill
        server.stop
      end
    end
  end

  # @param path [String] a file of JSON lines
  # @param url [String] URL of the server
  # @param folder [String] folder for the reader's files
  def initialize(path, url, folder)
    @path = path
    @events = Events.new(path)
    @client = DurableStreams::Client.new(base_url: url)
    @stream = @client.stream("/demo/events")
    @seen_path = File.join(folder, "seen.jsonl")
    @progress = ProgressBar.new(@events.size, :appended, :tailed)
    @tailed = 0
    @tail_events = Queue.new # one entry for every batch, and one at the end
  end

  # @return [Boolean] whether every event arrived once and in order
  def run
    say "A real server with a write-ahead log listens on #{@client.context.config.base_url}."
    @stream.create(content_type: "application/json")
    say "Stream #{@stream.url} created. Appending #{events(@events.size)}, one by one, while a tail follows."

    seconds = timed { append_and_kill_tail }
    @progress.finish
    say "Appended #{events(@events.size)} (#{figure(@events.bytes / 1024)} KiB) " \
        "in #{format("%.1f", seconds)} s: #{figure((@events.size / seconds).round)} a second, " \
        "each on disk before the next."
    [verify, kill_a_writer].all?
  ensure
    @progress.finish
    @client.close
  end

  private

  def append_and_kill_tail
    half = @events.size / 2
    resume_at = half + ((@events.size - half) * UNREAD_PART).ceil
    tail = start_tail
    @events.each.with_index(1) do |event, count|
      @stream.append(event)
      @progress.update(:appended, count)
      kill_tail(tail, half) if count == half
      tail = resume(count - half) if count == resume_at
    end
    @stream.close_stream
    tail.join
  end

  def start_tail
    Thread.new do
      Thread.current.report_on_exception = false # raised again by join
      CheckpointedTail.new(@stream, @seen_path).run do |events|
        @progress.update(:tailed, @tailed += events.size)
        @tail_events << true
      end
    ensure
      @tail_events << true
    end
  end

  # Waits until the tail has saved something, so that there is a checkpoint to resume from.
  def kill_tail(tail, half)
    @tail_events.pop
    Thread.pass until saved.last || !tail.alive?
    tail.kill.join
    say "The tail was killed after append #{figure(half)}; it had written #{events(@tailed)}. The writer continues."
  end

  def resume(missed)
    length, offset = saved
    @tailed = File.read(@seen_path, length).to_s.count("\n") # The new tail writes the events after it again.
    say "#{events(missed)} later a new tail resumes from the saved checkpoint, offset #{offset}."
    start_tail
  end

  # @return [Array] the tail's checkpoint
  def saved
    CheckpointedTail.new(@stream, @seen_path).saved
  end

  def kill_a_writer
    KilledWriter.new(@client, @events, @path, say: method(:say), figure: method(:figure)).run
  end

  def verify
    stored = difference(@stream.read_json.lazy.map { |event| JSON.generate(event) })
    seen = difference(File.foreach(@seen_path, chomp: true, encoding: "UTF-8"))
    say(stored || "Read back from the stream: all #{events(@events.size)}, in order.")
    say(seen || "Seen by the two tails together: all #{events(@events.size)}, each once, in order.")
    stored.nil? && seen.nil?
  end

  # @param found [Enumerable<String>] events as JSON
  # @return [String, nil] the first difference from the appended events
  def difference(found)
    found = found.each_entry
    @events.each.with_index(1) do |event, number|
      actual = next_of(found)
      return "MISSING from event #{number} on." if actual.nil?
      return "WRONG at event #{number}: #{actual[0, 200]}" if actual != JSON.generate(JSON.parse(event))
    end
    "TOO MANY: events beyond the #{@events.size} appended." if next_of(found)
  end

  def next_of(enumerator)
    enumerator.next
  rescue StopIteration
    nil
  end

  def timed
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    yield
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
  end

  # @return [String] such as "1 event" or "2,000 events"
  def events(number)
    "#{figure(number)} #{number == 1 ? "event" : "events"}"
  end

  # @return [String] 1234567 as "1,234,567"
  def figure(number)
    number.to_s.gsub(/(?<=\d)(?=(\d{3})+\z)/, ",")
  end

  def say(text)
    @progress.say(text)
  end
end

abort "usage: bin/demo [events.jsonl]" if ARGV.size > 1

begin
  exit Demo.run(ARGV.first)
rescue ArgumentError, TestServer::StartError => e
  abort "demo: #{e.message}"
rescue Interrupt
  abort "demo: interrupted"
end
