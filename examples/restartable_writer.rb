# frozen_string_literal: true

require "durable_streams"
require "securerandom"

# Writes a list of messages to a JSON stream, each once and in order, however often it is killed. It must be the
# stream's only writer, and the list must be the same each time.
#
# The recipe: at the start, append a marker message under an epoch that no earlier writer used. When the marker is
# acknowledged, the server rejects the older epochs, so no message of an earlier writer can arrive any more. The number
# of messages before the marker is then final, and says where to continue. (Counting without a marker is not enough: a
# request of the killed writer may still be in flight.)
#
#   RestartableWriter.new(client.stream("/orders"), "importer").run(File.foreach("orders.jsonl"))
#
# Readers skip the markers: messages for which RestartableWriter.marker? is true.
class RestartableWriter
  KEY = "marker of a RestartableWriter"

  # @param message [Object] an item of a reader
  # @return [Boolean]
  def self.marker?(message)
    message.is_a?(Hash) && message.key?(KEY)
  end

  # @param stream [DurableStreams::Stream]
  # @param id [String] the producer's id
  # @param options [Hash] further options of DurableStreams::Producer.new
  def initialize(stream, id, **options)
    @stream = stream
    @options = { stream: stream, producer_id: id, **options }
    @offset = "-1"
    @written = 0
    @markers = []
  end

  # Writes the messages that are not in the stream yet. May be killed at any moment and run again.
  # @param messages [Enumerable]
  # @yieldparam written [Integer] number of messages already in the stream
  # @return [nil]
  # @raise [DurableStreams::ProducerError] if they cannot be delivered, for example because a later writer took over
  def run(messages)
    producer = claim_epoch
    yield @written if block_given?
    messages.each_with_index { |message, number| producer << message if number >= @written }
    producer.close
  end

  private

  # @return [DurableStreams::Producer] a producer with the latest epoch
  def claim_epoch
    loop do
      read_new
      name = SecureRandom.uuid
      # One epoch for each marker.
      producer = DurableStreams::Producer.new(**@options, epoch: @markers.size)
      producer.append!({ KEY => name })
      read_new
      return producer if @markers.include?(name)

      # The producer could not determine whose marker the server stored. It was not this one.
      producer.close
    rescue DurableStreams::EpochReusedError
      next # Another writer used this epoch at the same time. The server did not store this marker.
    end
  end

  # Reads the messages since the last call.
  def read_new
    @stream.read(offset: @offset).each do |batch|
      markers, messages = batch.items.partition { |item| self.class.marker?(item) }
      @markers.concat(markers.map { |marker| marker.fetch(KEY) })
      @written += messages.size
      @offset = batch.next_offset
    end
  end
end
