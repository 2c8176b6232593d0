# frozen_string_literal: true

require "durable_streams"
require "durable_streams/state"

# What web processes and workers share: the streams, and what happens to an order.
#
# An order is published to one of several streams of orders. Each has a subscription, which wakes one worker at a time.
# So several workers ship orders at once. The stream `state` has everything that the page shows.
module Shop
  PRODUCTS = %w[apples pears plums].freeze
  # Of each product, at the beginning.
  STOCK = 100_000
  # How many streams of orders there are.
  STREAMS = 3

  # The ids of the subscriptions.
  SUBSCRIPTIONS = Array.new(STREAMS) { |number| "orders-#{number}" }.freeze

  class << self
    # Works in processes that were forked after the first call, too.
    # @return [DurableStreams::Client]
    def client
      @client ||= DurableStreams::Client.new(base_url: ENV.fetch("STREAMS_URL"))
    end

    # @return [DurableStreams::Stream] orders to be shipped
    def orders(number)
      client.stream("/orders/#{number}", content_type: :json)
    end

    # @return [DurableStreams::Stream] the state that the page shows
    def state
      client.stream("/state", content_type: :json)
    end

    # Creates the streams and the subscriptions.
    # @param lease_ttl [Numeric] seconds after which the streams of a killed worker go to another one
    def create_streams(lease_ttl:)
      [state, client.stream("/wakes", content_type: :json)].each(&:create)
      SUBSCRIPTIONS.each_with_index do |id, number|
        orders(number).create
        client.subscriptions.create(id, type: :pull_wake, streams: ["orders/#{number}"], wake_stream: "wakes",
                                        lease_ttl: lease_ttl)
      end
    end

    # Appends what the block writes, once, however often it is repeated. A server stores the first batch of a producer
    # with this id, and treats all others as duplicates. (The Node server forgets a producer after seven days.)
    # @yieldparam changes [DurableStreams::State::Writer]
    def append_once(stream, id)
      DurableStreams::Producer.open(stream: stream, producer_id: id, next_seq: 0) do |producer|
        yield DurableStreams::State::Writer.new(producer)
      end
    end

    # Ships the orders of a stream that are not shipped yet, each once: the checkpoint moves in the same transaction. If
    # another worker ships orders of the stream at the same time, because this one was frozen until its lease had ended,
    # only one of the two transactions fits the checkpoint. The other is rolled back.
    def ship(stream, worker)
      checkpoint = DurableStreams::Checkpoint::ActiveRecord.new(Checkpoint, stream.path)
      DurableStreams::Consumer.new(stream, checkpoint: checkpoint, live: :off).run do |batch|
        Shipment.transaction do
          checkpoint.save(batch.offset) # first, because it locks: no other worker can ship these orders meanwhile
          batch.items.each { |change| Shipment.of(change, worker) }
        end
      end
    end

    # Tells the page what was shipped. May be repeated: the state remains the same.
    # @param numbers [Array<String>] of orders
    def report(numbers)
      changes = DurableStreams::State::Writer.new(state)
      Shipment.where(order_number: numbers).each do |shipment|
        changes.upsert("shipment", shipment.order_number, { worker: shipment.worker }, timestamp: shipment.created_at)
      end
    end
  end
end
