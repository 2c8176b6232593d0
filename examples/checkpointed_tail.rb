# frozen_string_literal: true

require "durable_streams"
require "json"

# Follows a JSON stream and writes every event to a file, once and in order, however often it is killed in between.
#
# The recipe: what a batch brought and the position after it are saved together. The checkpoint says how far the stream
# was read and how long the file was then, and replaces the one before it in one step (a rename). A tail that starts
# cuts the file to that length, which drops what a killed one wrote without a checkpoint, and reads from that position.
#
#   stream = client.stream("/orders")
#   CheckpointedTail.new(stream, "orders.jsonl").run { |events| puts "#{events.size} more" }
class CheckpointedTail
  # @param stream [DurableStreams::Stream]
  # @param path [String] the file; its checkpoint is beside it
  def initialize(stream, path)
    @stream = stream
    @path = path
    @checkpoint_path = "#{path}.checkpoint"
  end

  # Follows the stream until it is closed. May be killed at any moment and run again.
  # @yieldparam events [Array] what was just saved
  # @return [nil]
  def run
    File.open(@path, File::RDWR | File::CREAT) do |file|
      start = checkpoint
      file.truncate(start["bytes"])
      file.seek(0, IO::SEEK_END)

      @stream.read(offset: start["offset"], live: :long_poll) do |reader|
        reader.each do |batch|
          batch.items.each { |event| file.puts(JSON.generate(event)) }
          file.flush
          save("offset" => batch.next_offset, "bytes" => file.pos)
          yield batch.items if block_given?
        end
      end
    end
    nil
  end

  # @return [Hash] "offset": where to read on; "bytes": how long the file is there
  def checkpoint
    JSON.parse(File.read(@checkpoint_path))
  rescue Errno::ENOENT
    { "offset" => "-1", "bytes" => 0 }
  end

  private

  def save(checkpoint)
    fresh = "#{@checkpoint_path}.new"
    File.write(fresh, JSON.generate(checkpoint))
    File.rename(fresh, @checkpoint_path)
  end
end
