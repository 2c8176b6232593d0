# frozen_string_literal: true

require "securerandom"
require_relative "cluster"

# Helpers for spec/cluster: a replicated server.
module ClusterHelpers
  BUCKET = "specs"
  # The routes to a stream by name. Each returns a base URL for a cluster and the stream's path.
  ROUTES = {
    "the leader" => ->(cluster, path) { cluster.wait_for_leader(path).url },
    "a follower" => ->(cluster, path) { cluster.followers(path).first.url },
    "the other follower" => ->(cluster, path) { cluster.followers(path).last.url },
    "the gateway" => ->(cluster, _path) { cluster.gateway_url }
  }.freeze

  class << self
    # @return [Cluster] the run's shared cluster, which starts at the first call
    def shared
      @shared ||= start
    end

    # @param options [Hash] see Cluster#initialize
    # @return [Cluster] a new cluster with the bucket that examples use
    def start(**options)
      Cluster.start(**options).tap { |cluster| cluster.create_bucket(BUCKET) }
    end

    # Stops the shared cluster, if there is one.
    def stop
      @shared&.stop
      @shared = nil
    end
  end

  # @return [Cluster] the run's shared cluster: do not kill or pause its nodes
  def cluster
    ClusterHelpers.shared
  end

  # @param name [String] a part of the path, to recognize it in a log
  # @return [String] a path that no other example uses
  def cluster_path(name = "stream")
    "/#{BUCKET}/#{name}-#{SecureRandom.hex(8)}"
  end

  # Runs the block with a separate cluster, whose nodes may be killed and paused.
  # @param options [Hash] see Cluster#initialize
  # @yieldparam cluster [Cluster]
  def with_cluster(**options)
    own = ClusterHelpers.start(**options)
    yield own
  ensure
    own&.stop
  end
end

RSpec.configure do |config|
  config.include ClusterHelpers, :cluster
  config.after(:suite) { ClusterHelpers.stop }
end
