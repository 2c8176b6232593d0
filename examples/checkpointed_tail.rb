# frozen_string_literal: true

require "durable_streams"
require "json"

# Follows a JSON stream and writes every event to a file, once and in order, however often it is killed.
#
# The recipe: with each offset, save the length that the file has there. At the start, cut the file to the saved length,
# which removes events that a killed run wrote without a checkpoint, and read from the saved offset.
#
#   tail = CheckpointedTail.new(client.stream("/orders"), "orders.jsonl")
#   trap("TERM") { tail.stop }
#   tail.run { |events| puts "#{events.size} more" }
class CheckpointedTail
  # @param stream [DurableStreams::Stream]
  # @param path [String] the file; the checkpoint is stored beside it
  def initialize(stream, path)
    @path = path
    @saved = DurableStreams::Checkpoint::File.new("#{path}.checkpoint")
    @consumer = DurableStreams::Consumer.new(stream, checkpoint: self)
  end

  # Follows the stream until it is closed, or `stop` is called. May be killed at any moment and run again.
  # @yieldparam events [Array] the events that were just written
  # @return [Symbol] see DurableStreams::Consumer#run
  def run
    File.open(@path, File::RDWR | File::CREAT) do |file|
      @file = file
      @consumer.run do |batch|
        batch.items.each { |event| file.puts(JSON.generate(event)) }
        yield batch.items if block_given?
      end
    end
  end

  # Ends `run`. May be called from a trap handler.
  def stop
    @consumer.stop
  end

  # @return [Array(Integer, String), Array(0, nil)] the file's length at the saved offset, and that offset
  def saved
    length, offset = @saved.load&.split(":", 2)
    [length.to_i, offset]
  end

  # For the consumer: where to continue. Removes what was written after the checkpoint.
  def load
    length, offset = saved
    @file.truncate(length)
    @file.seek(0, IO::SEEK_END)
    offset
  end

  # For the consumer: saves where to continue, after the events before it are on the disk.
  def save(offset)
    @file.fsync
    @saved.save("#{@file.pos}:#{offset}")
  end
end
