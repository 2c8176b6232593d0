# frozen_string_literal: true

class Cluster
  # One node of a Cluster.
  class Node
    # @return [Integer] from 1
    attr_reader :id
    # @return [String] its base URL, without a slash at the end
    attr_reader :url

    # @param id [Integer]
    # @param url [String]
    # @param admin_address [String] host and port of the administration interface
    # @param cluster [Cluster]
    def initialize(id, url, admin_address, cluster)
      @id = id
      @url = url
      @admin_address = admin_address
      @cluster = cluster
      @killed = false
      @paused = false
    end

    # @return [String]
    def name
      "node-#{id}"
    end
    alias to_s name

    # @return [Boolean] whether it runs and is not paused
    def responsive?
      !@killed && !@paused
    end

    # Kills it (SIGKILL) and returns when it has ended. Its data on disk remain.
    # @return [self]
    def kill
      @cluster.kill(self)
      @killed = true
      @paused = false
      self
    end

    # Starts it again after #kill, with the same URL and data. Returns when it is ready.
    # @return [self]
    def restart
      @cluster.restart(self)
      @killed = false
      self
    end

    # Suspends it (SIGSTOP): clients can connect, but get no response.
    # @return [self]
    def pause
      @cluster.signal(self, "STOP")
      @paused = true
      self
    end

    # Resumes it after #pause.
    # @return [self]
    def resume
      @cluster.signal(self, "CONT")
      @paused = false
      self
    end

    # @param groups [Integer]
    # @param wal [String] folder of its write-ahead log
    # @return [String] its configuration file
    def configuration(groups:, wal:)
      peers = @cluster.nodes.map { |node| "[[raft.peers]]\nnode_id = #{node.id}\nurl = \"#{node.url}\"\n" }
      <<~TOML
        [server]
        listen = "#{url.delete_prefix("http://")}"
        admin_listen = "#{@admin_address}"
        cluster_id = "specs"

        [runtime]
        core_count = 1

        [raft]
        node_id = #{id}
        group_count = #{groups}

        [raft.wal]
        path = "#{wal}"

        #{peers.join("\n")}
      TOML
    end
  end
end
