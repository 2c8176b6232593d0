# frozen_string_literal: true

require_relative "server_helpers"

# Helpers for example groups with `:subscriptions`, whose server has them: the Node server.
module SubscriptionHelpers
  # The server's stream root.
  ROOT = "/v1/stream"

  class << self
    # As RSpec.describe. If the Node server cannot run here, a report after the run names the skipped group.
    def describe(described, *words, **metadata, &block)
      return ServerHelpers.skipped << described if NodeServer.missing

      RSpec.describe(described, *words, :subscriptions, server: :node, **metadata, &block)
    end
  end

  # @return [DurableStreams::Client] of the server's stream root, closed after the example
  def client
    @client ||= client_of(server_url)
  end

  # @param url [String] a server
  # @return [DurableStreams::Client] of its stream root, closed after the example
  def client_of(url, **options)
    DurableStreams::Client.new(base_url: url + ROOT, **options).tap { |made| subscription_clients << made }
  end

  def subscriptions
    client.subscriptions
  end

  # @return [String] a word that no other example uses, for ids and paths
  def unique(name = "s")
    "#{name}-#{SecureRandom.hex(6)}"
  end

  # Creates a subscription for the streams of a new folder, with a wake stream of its own.
  # @return [String] the folder's path, which is the id of the subscription too
  def subscribe(lease_ttl: 30, on: client)
    unique.tap do |id|
      wakes = on.create("wakes/#{id}", content_type: :json)
      on.subscriptions.create(id, type: :pull_wake, pattern: "#{id}/*", wake_stream: wakes, lease_ttl: lease_ttl)
    end
  end

  # @api private
  def subscription_clients
    @subscription_clients ||= []
  end
end

# @see SubscriptionHelpers.describe
def on_server_with_subscriptions(described, *words, **metadata, &block)
  SubscriptionHelpers.describe(described, *words, **metadata, &block)
end

RSpec.configure do |config|
  config.include SubscriptionHelpers, :subscriptions
  config.after(:each, :subscriptions) { subscription_clients.each(&:close) }
end
