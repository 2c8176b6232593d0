# frozen_string_literal: true

require "json"
require_relative "../../examples/restartable_writer"
require_relative "events"

# What the demo runs in a process of its own, and kills: writes numbered messages to a stream, made of the events of a
# file, as often as it takes. Prints how many were there when it began and, at its end, the seconds that the rest took.
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
# Batches and a buffer that are small, so that it can be killed in the midst of things.
options = { max_batch_bytes: 64 * 1024, max_buffered_bytes: 1024 * 1024 }
RestartableWriter.new(stream, "demo", **options).run(messages) do |written|
  puts written
  started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
