# frozen_string_literal: true

require "securerandom"
require_relative "cluster"

# What examples of spec/cluster use to reach a replicated server.
module ClusterHelpers
  BUCKET = "specs"
  # Ways to a stream, by how examples name them, and the base URL of each: given the cluster and the stream's path.
  ROUTES = {
    "the leader" => ->(cluster, path) { cluster.wait_for_leader(path).url },
    "a follower" => ->(cluster, path) { cluster.followers(path).first.url },
    "the other follower" => ->(cluster, path) { cluster.followers(path).last.url },
    "the gateway" => ->(cluster, _path) { cluster.gateway_url }
  }.freeze

  class << self
    # @return [Cluster] the run's shared cluster, started when first asked for
    def shared
      @shared ||= start
    end

    # @return [Cluster] with the bucket that examples use
    def start
      Cluster.start.tap { |cluster| cluster.create_bucket(BUCKET) }
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

  # @param name [String] something to recognize it by in a log
  # @return [String] a path that no other example uses
  def cluster_path(name = "stream")
    "/#{BUCKET}/#{name}-#{SecureRandom.hex(8)}"
  end

  # Runs the block with a cluster of this example's own, whose nodes may be killed and paused.
  # @yieldparam cluster [Cluster]
  def with_cluster
    own = ClusterHelpers.start
    yield own
  ensure
    own&.stop
  end
end

RSpec.configure do |config|
  config.include ClusterHelpers, :cluster
  config.after(:suite) { ClusterHelpers.stop }
end
