# frozen_string_literal: true

require "json"
require "net/http"
require "socket"
require_relative "cluster/programs"
require_relative "clock"

# A replicated Durable Streams server on loopback: nodes of Ursula (Raft) and a gateway. Nodes can be killed, restarted,
# paused and resumed. Independent of RSpec.
#
#   Cluster.start do |cluster|
#     cluster.create_bucket("specs")
#     cluster.gateway_url                     # => "http://127.0.0.1:20123"
#     cluster.leader("/specs/stream").kill    # as kill -9 does
#   end
#
# Its programs end with this process, even if this process is killed: see Cluster::Supervisor.
class Cluster
  include Clock

  # The cluster or one of its programs did not reach an expected state in time. The message includes its log.
  class StartError < StandardError; end

  HOST = "127.0.0.1"
  # The path at which `bin/setup --cluster` installs the program.
  BINARY = File.expand_path("../../.server/bin/ursula", __dir__)
  # Seconds to wait for a node, far more than it needs. An election takes 5 to 6.
  PATIENCE = 60
  # Seconds between two polls of a state.
  INTERVAL = 0.02
  # Attempts to start. Another process may take a free port before a node binds it.
  START_ATTEMPTS = 3
  PORT_TAKEN = /AddrInUse|Address already in use/
  # Below the ports of outgoing connections, which could take a node's port while the node is down.
  PORTS = (20_000..31_999)

  class << self
    # @return [String, nil] the program that bin/setup built, or else the one on PATH
    def program
      [File.dirname(BINARY), *ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)]
        .map { |folder| File.join(folder, "ursula") }
        .find { |file| File.file?(file) && File.executable?(file) }
    end

    # @return [String, nil] the reason why no cluster can run here; nil if one can
    def missing
      "there is no ursula in .server/bin nor on PATH; bin/setup --cluster builds it" unless program
    end

    # Starts a cluster and returns it once every group accepts writes. With a block: yields it, stops it and returns
    # the block's value.
    # @param options [Hash] as for #initialize
    # @return [Cluster, Object]
    # @raise [StartError]
    def start(**options)
      cluster = start_on_free_ports(**options)
      return cluster unless block_given?

      begin
        yield cluster
      ensure
        cluster.stop
      end
    end

    private

    def start_on_free_ports(**options)
      attempt = 0
      begin
        new(**options).start
      rescue StartError => e
        retry if PORT_TAKEN.match?(e.message) && (attempt += 1) < START_ATTEMPTS
        raise
      end
    end
  end

  # @return [Array<Node>]
  attr_reader :nodes
  # @return [String] the gateway's base URL, without a slash at the end
  attr_reader :gateway_url

  # @param nodes [Integer] number of nodes; a majority of them must run
  # @param groups [Integer] number of groups of streams; one node leads each group
  # @raise [StartError] if the program is missing
  def initialize(nodes: 3, groups: 4)
    @program = self.class.program || raise(StartError, self.class.missing)
    @groups = groups
    gateway, *ports = free_ports(1 + (2 * nodes))
    @gateway_url = "http://#{HOST}:#{gateway}"
    @programs = Programs.new
    @nodes = ports.each_slice(2).with_index(1).map do |(port, admin_port), id|
      Node.new(id, "http://#{HOST}:#{port}", "#{HOST}:#{admin_port}", self)
    end
  end

  # Starts the nodes and the gateway, and waits until every group accepts writes.
  # @return [self]
  # @raise [StartError]
  def start
    @nodes.each { |node| launch(node) }
    start_gateway
    @nodes.each { |node| wait_until_ready(node) }
    probe
    self
  rescue Exception # rubocop:disable Lint/RescueException -- no program may remain
    stop
    raise
  end

  # Ends all programs at once. May be called twice.
  # @return [nil]
  def stop
    @programs.stop
  end

  # Creates a bucket if it does not exist. The stream /name/a requires the bucket "name".
  # @param name [String] 4 to 64 of a-z, 0-9, - and _
  # @return [nil]
  def create_bucket(name)
    wait_until("there is a bucket #{name}") { request(Net::HTTP::Put, gateway_url, "/#{name}")&.code == "201" }
    nil
  end

  # Asks the nodes which one leads the stream's group. A majority confirms the leader, so this is never a former one.
  # @param path [String] path of a stream, which need not exist
  # @return [Node, nil] nil while there is no leader
  def leader(path)
    nodes.find do |node|
      next unless node.responsive?

      # Only the leader accepts a live read. Others redirect it (307), or know no leader (503).
      response = request(Net::HTTP::Get, node.url, "#{path}?live=long-poll&offset=-1&timeout_ms=1")
      response && !%w[307 503].include?(response.code)
    end
  end

  # @param path [String] of a stream
  # @return [Node] the leader of its group; waits for one
  def wait_for_leader(path)
    wait_until("a node leads #{path}") { leader(path) }
  end

  # @param path [String] of a stream
  # @return [Array<Node>] the nodes that do not lead its group
  def followers(path)
    nodes - [wait_for_leader(path)]
  end

  # @api private
  def kill(node)
    @programs.kill(node.name)
  end

  # @api private
  def signal(node, name)
    @programs.signal(node.name, name)
  end

  # @api private
  def restart(node)
    launch(node)
    wait_until_ready(node)
  end

  private

  def launch(node)
    path = File.join(@programs.folder, "#{node.name}.toml")
    File.write(path, node.configuration(groups: @groups, wal: File.join(@programs.folder, node.name)))
    @programs.start(node.name, [@program, "server", "--config", path])
  end

  def start_gateway
    upstreams = nodes.flat_map { |node| ["--upstream", node.url] }
    @programs.start("gateway", [@program, "gateway", "--listen", gateway_url.delete_prefix("http://"),
                                "--raft-group-count", @groups.to_s, *upstreams])
    wait_until("the gateway listens", "gateway") do
      request(Net::HTTP::Get, gateway_url, "/__ursula/gateway/metrics")&.code == "200"
    end
  end

  def wait_until_ready(node)
    wait_until("#{node.name} is ready", node.name) do
      request(Net::HTTP::Get, node.url, "/__ursula/ready")&.code == "200"
    end
  end

  # Nodes are ready before each group has a leader. A stream's group is a hash of its path, so this tries more paths
  # than there are groups.
  def probe
    create_bucket("cluster")
    (8 * @groups).times { |number| wait_for_leader("/cluster/probe-#{number}") }
  end

  # @param what [String] the expected state, for the error
  # @param name [String, nil] the program, whose log the error includes
  # @return [Object] the block's first true value
  def wait_until(what, name = nil)
    deadline = now + PATIENCE
    until (result = yield)
      ended = name && !@programs.running?(name)
      if ended || now > deadline
        raise StartError, "it did not happen that #{what}: #{ended ? "#{name} has ended" : "waited #{PATIENCE} s"}\n" \
                          "#{@programs.log(name) if name}"
      end

      sleep(INTERVAL)
    end
    result
  end

  # @return [Net::HTTPResponse, nil] nil without a response
  def request(verb, url, path)
    uri = URI.join(url, path)
    Net::HTTP.start(uri.host, uri.port, nil, open_timeout: 1, read_timeout: 3, max_retries: 0) do |http|
      http.request(verb.new(uri))
    end
  rescue SystemCallError, IOError, Timeout::Error, Net::HTTPBadResponse
    nil
  end

  # Binds all ports at the same time, so that they differ.
  def free_ports(count)
    servers = []
    PORTS.to_a.shuffle.each do |port|
      break if servers.size == count

      servers << TCPServer.new(HOST, port)
    rescue Errno::EADDRINUSE, Errno::EACCES
      next
    end
    servers.map { |server| server.addr[1] }
  ensure
    servers.each(&:close)
  end
end

require_relative "cluster/node"
