# frozen_string_literal: true

require "json"
require_relative "../../examples/restartable_writer"
require_relative "events"

# The demo's writer, which runs in its own process and is killed. Writes numbered messages to a stream, from the events
# of a file, which it repeats as often as needed. Prints the number of messages already stored when it begins and, at
# its end, the seconds for the rest.
url, path, count = ARGV
count = Integer(count)
events = Events.new(path)
messages = Enumerator.new do |list|
  number = 0
  while number < count
    events.each do |event|
      list << "[#{number},#{event}]"
      number += 1
      break if number == count
    end
  end
end

$stdout.sync = true
stream = DurableStreams::Stream.new(url, content_type: :json)
started = nil
# Small batches and a small buffer, so that the kill comes in the middle.
options = { max_batch_bytes: 64 * 1024, max_buffered_bytes: 1024 * 1024 }
RestartableWriter.new(stream, "demo", **options).run(messages) do |written|
  puts written
  started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
