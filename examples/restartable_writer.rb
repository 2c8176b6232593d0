# frozen_string_literal: true

require "durable_streams"
require "securerandom"

# Writes a list of messages to a JSON stream, each once and in order, however often it is killed in between. It is the
# stream's only writer, and the list is the same each time.
#
# The recipe: a writer that starts signs in, with a message of its own, under an epoch that no writer before it had.
# Once that is acknowledged, nothing that an earlier writer sent can arrive any more: the server refuses its epoch. So
# what stands before the marker is final, and its number of messages says where to go on. (To count without signing
# in first would not do: a request of the killed writer may still be on its way.)
#
#   RestartableWriter.new(client.stream("/orders"), "importer").run(File.foreach("orders.jsonl"))
#
# Readers skip the markers: messages for which RestartableWriter.marker? is true.
class RestartableWriter
  KEY = "marker of a RestartableWriter"

  # @param message [Object] as a reader gives it
  # @return [Boolean]
  def self.marker?(message)
    message.is_a?(Hash) && message.key?(KEY)
  end

  # @param stream [DurableStreams::Stream]
  # @param id [String] the producer's
  # @param options [Hash] what else DurableStreams::Producer.new takes
  def initialize(stream, id, **options)
    @stream = stream
    @options = { stream: stream, producer_id: id, **options }
    @offset = "-1"
    @written = 0
    @markers = []
  end

  # Writes what is not in the stream yet. May be killed at any moment and run again.
  # @param messages [Enumerable]
  # @yieldparam written [Integer] how many are there already
  # @return [nil]
  # @raise [DurableStreams::ProducerError] if they cannot be delivered, as when a later writer has taken over
  def run(messages)
    producer = claim_epoch
    yield @written if block_given?
    messages.each_with_index { |message, number| producer << message if number >= @written }
    producer.close
  end

  private

  # @return [DurableStreams::Producer] whose epoch is the latest
  def claim_epoch
    loop do
      read_new
      name = SecureRandom.uuid
      # One epoch for each marker.
      producer = DurableStreams::Producer.new(**@options, epoch: @markers.size)
      producer.append!({ KEY => name })
      read_new
      return producer if @markers.include?(name)

      # Nobody could tell whose marker the server had, and it was not this one.
      producer.close
    rescue DurableStreams::EpochReusedError
      next # Another writer signed in under this epoch at the same time. The server dropped this marker.
    end
  end

  # Reads what has come since the last time.
  def read_new
    @stream.read(offset: @offset).each do |batch|
      markers, messages = batch.items.partition { |item| self.class.marker?(item) }
      @markers.concat(markers.map { |marker| marker.fetch(KEY) })
      @written += messages.size
      @offset = batch.next_offset
    end
  end
end
