# frozen_string_literal: true

# A worker: ships the orders that are published. Any number of them share the work. May be killed at any moment.
require_relative "database"

Shop.connect
name = "worker #{Process.pid}"
# One thread: the database has one writer at a time. Other processes ship the orders of the other streams.
worker = DurableStreams::Worker.new(Shop.client, Shop::SUBSCRIPTIONS, name: name, concurrency: 1)
%w[INT TERM].each { |signal| trap(signal) { worker.stop } }

# Publishes what web processes could not publish.
publisher = Thread.new do
  loop do
    sleep 1
    Shop::Order.unpublished.each(&:publish)
  end
end
publisher.abort_on_exception = true

worker.run do |stream, batch|
  ActiveRecord::Base.connection_pool.with_connection do
    Shop.ship(stream, name)
    Shop.report(batch.items.map { |change| change["key"] })
  end
  # The batch is acked now. If this process is killed before that, another worker gets the batch again. Then there is
  # nothing to ship, and what was shipped is reported.
end
