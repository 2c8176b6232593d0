# frozen_string_literal: true

require "durable_streams"
require_relative "append_threads"
require_relative "cluster"
require_relative "count"

# A producer, two tails and eight threads of appends work on a cluster, whose nodes fail one after another: the leader
# is killed twice and paused once, and a follower is paused. Examples check the result.
class FailingCluster
  MESSAGES = 50_000
  # Each happens while a share of the messages is being delivered. All nodes run for the last share.
  FAILURES = %i[kill_leader kill_leader pause_leader pause_follower].freeze
  SHARE = MESSAGES / (FAILURES.size + 1)
  # Seconds to wait for something that takes an election or two.
  PATIENCE = 120
  # Bounds of silence. A paused node accepts connections and sends nothing, and this server sends no heartbeats, so only
  # these find it. All other settings are the defaults.
  TIMEOUT = 5
  LIVE_TIMEOUT = 10

  # @return [String] path of the stream that the producer writes to: the whole numbers below MESSAGES
  attr_reader :written
  # @return [String] path of the stream of the appends
  attr_reader :appended
  # @return [AppendThreads]
  attr_reader :appends

  # @param cluster [Cluster] with one group of streams, so that one node leads both streams
  # @param written [String] path of the producer's stream, in a bucket that exists
  # @param appended [String] path of the other one, likewise
  def initialize(cluster, written:, appended:)
    @cluster = cluster
    @written = written
    @appended = appended
    @delivered = Count.new
    @permitted = Count.new # how many messages may be appended: a share more after each failure
    @node_url = cluster.followers(written).first.url
    @clients = [@node_url, cluster.gateway_url].map do |url|
      DurableStreams::Client.new(base_url: url, timeout: TIMEOUT)
    end
  end

  # Runs until both streams are closed.
  # @return [self]
  def run
    [written, appended].each { |path| client.create(path, content_type: :json) }
    @tails = [tail(@node_url, :sse), tail(@cluster.gateway_url, :long_poll)]
    @appends = AppendThreads.new(plain: append_handles(false), exactly_once: append_handles(true)).start
    writer = write
    FAILURES.each_with_index { |failure, index| fail_during_share(failure, index) }
    @permitted.add(SHARE)
    value_of(writer)
    @appends.stop(PATIENCE)
    client.stream(appended).close_stream
    self
  ensure
    @permitted.add(MESSAGES)
    @appends&.stop(PATIENCE)
    @clients.each(&:close)
  end

  # @return [Array<String>] how the copies of the tails and the nodes differ from what the producer wrote
  def differences
    copies = @tails.map { |thread| value_of(thread) } + everywhere(written)
    copies.filter_map { |items| difference(items) }
  end

  # @return [Array<String>] see AppendThreads#lies; or that the nodes' copies differ
  def lies
    copies = everywhere(appended).uniq
    copies.size == 1 ? @appends.lies(copies.first) : ["the nodes have #{copies.size} different streams"]
  end

  private

  # @return [DurableStreams::Client] of a node that does not lead at first
  def client
    @clients.first
  end

  # Starts a live read of the whole stream.
  # @return [Thread] whose value is all of its items
  def tail(url, live)
    thread do
      DurableStreams::Client.open(base_url: url, timeout: TIMEOUT, live_timeout: LIVE_TIMEOUT) do |client|
        client.stream(written).read_json(live: live).to_a
      end
    end
  end

  # Appends all messages with a producer, and closes the stream. The batches are small and few of them wait, so that a
  # failure comes between them.
  # @return [Thread]
  def write
    options = { stream: client.stream(written), producer_id: "writer", auto_claim: true, max_batch_items: 20,
                max_buffered_bytes: 64 * 1024, on_delivery: ->(_result, count) { @delivered.add(count) } }
    thread do
      DurableStreams::Producer.open(**options) do |producer|
        MESSAGES.times do |number|
          @permitted.wait_for(number + 1, PATIENCE) if (number % SHARE).zero?
          producer.append(number)
        end
        producer.close_stream
      end
    rescue StandardError => e
      @delivered.fail(e)
      raise
    end
  end

  # Four threads: two share a handle and its requests, through a node. Two have their own requests, through the gateway.
  def append_handles(exactly_once)
    @clients.flat_map do |client|
      [client.stream(appended, batching: client == @clients.first, exactly_once: exactly_once)] * 2
    end
  end

  def fail_during_share(failure, index)
    @permitted.add(SHARE)
    first = SHARE * index
    send(failure, -> { @delivered.wait_for(first + (SHARE / 4), PATIENCE) },
         -> { @delivered.wait_for(first + SHARE, PATIENCE) })
  end

  def kill_leader(begun, _ended)
    leader = @cluster.wait_for_leader(written)
    begun.call
    leader.kill
    @cluster.wait_for_leader(written)
    leader.restart
  end

  def pause_leader(begun, _ended)
    leader = @cluster.wait_for_leader(written)
    begun.call
    leader.pause
    @cluster.wait_for_leader(written)
    leader.resume
  end

  # The rest of the share is delivered without this follower: the node whose URL the clients know, if it does not lead.
  def pause_follower(begun, ended)
    follower = @cluster.followers(written).min_by { |node| node.url == @node_url ? 0 : 1 }
    begun.call
    follower.pause
    ended.call
    follower.resume
  end

  # @return [Array<Array>] all items of a stream, read from each node and the gateway
  def everywhere(path)
    [*@cluster.nodes.map(&:url), @cluster.gateway_url].map do |url|
      DurableStreams::Client.open(base_url: url) { |client| client.stream(path).read_all }
    end
  end

  def difference(items)
    wrong = items.each_with_index.find { |item, index| item != index }
    return "item #{wrong[1]} is #{wrong[0]}" if wrong

    "there are #{items.size} items" unless items.size == MESSAGES
  end

  def thread
    Thread.new do
      Thread.current.report_on_exception = false # raised again by #value_of
      yield
    end
  end

  # @return [Object] the thread's value; raises what it raised
  def value_of(thread)
    raise "a thread does not end: #{@delivered.value} messages were delivered" unless thread.join(PATIENCE)

    thread.value
  end
end
