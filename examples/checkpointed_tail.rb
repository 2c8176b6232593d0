# frozen_string_literal: true

require "durable_streams"
require "json"

# Follows a JSON stream and writes every event to a file, once and in order, however often it is killed.
#
# The recipe: save the checkpoint (the position in the stream and the length of the file) after each batch, by replacing
# the checkpoint file in one step (a rename). At the start, cut the file to the saved length, which removes events that
# a killed run wrote without a checkpoint, and read from the saved position.
#
#   stream = client.stream("/orders")
#   CheckpointedTail.new(stream, "orders.jsonl").run { |events| puts "#{events.size} more" }
class CheckpointedTail
  # @param stream [DurableStreams::Stream]
  # @param path [String] the file; the checkpoint is stored beside it
  def initialize(stream, path)
    @stream = stream
    @path = path
    @checkpoint_path = "#{path}.checkpoint"
  end

  # Follows the stream until it is closed. May be killed at any moment and run again.
  # @yieldparam events [Array] the events that were just saved
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

  # @return [Hash] "offset": where to continue reading; "bytes": the file's length at that position
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
