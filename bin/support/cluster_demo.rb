# frozen_string_literal: true

require "durable_streams"
require "logger"
require_relative "../../spec/support/clock"
require_relative "../../spec/support/cluster"
require_relative "progress_bar"
require_relative "progress_chart"

# What bin/demo --cluster runs: a producer writes to a server of three nodes, and a tail follows. In the middle the
# leader is killed with -9. In the end everything is read back: each message is stored once, and in order.
class ClusterDemo
  include Clock

  PATH = "/demo/messages"
  # How long messages are appended, in seconds, and how many a second. An election takes 5 to 6 seconds.
  SECONDS = 16
  RATE = 4_000
  TOTAL = SECONDS * RATE
  # How many messages are appended before the leader is killed.
  KILLED_AT = TOTAL / 4
  # Seconds between two rounds of appends, and between two columns of the chart.
  TICK = 0.01
  COLUMN = 0.3
  # Seconds to wait for the end of a thread.
  PATIENCE = 120

  # @return [Boolean] whether each message is stored once and in order
  def self.run
    Cluster.start { |cluster| new(cluster).run }
  end

  # @param cluster [Cluster]
  def initialize(cluster)
    @cluster = cluster
    @known = cluster.followers(PATH).first
    @client = DurableStreams::Client.new(base_url: @known.url, timeout: 5, live_timeout: 10)
    @appended = 0
    @delivered = 0
    @batches = 0
    @requests = 0
    @seen = []
    @delivery_times = []
    @progress = ProgressBar.new(TOTAL, :appended, :delivered, :tailed)
    @chart = ProgressChart.new(TOTAL)
    DurableStreams.logger = Logger.new(self, formatter: ->(_severity, _time, _name, text) { text.to_s })
  end

  # @return [Boolean] whether each message is stored once and in order
  def run
    @started = now
    introduce
    tail = thread { follow }
    failure = thread { fail_leader }
    produce
    [failure, tail].each { |thread| thread.join(PATIENCE) || raise(Cluster::StartError, "the demo does not end") }
    sample
    @progress.finish
    sum_up
    verify
  ensure
    @progress.finish
    @client.close
  end

  # Shows what the client logs: this object is the device of its Logger.
  # @param text [String]
  def write(text)
    say("  log: #{text.chomp.delete_prefix("durable_streams: ").sub(@known.url, "")}")
  end

  # @api private
  def close; end

  private

  def thread
    Thread.new do
      Thread.current.report_on_exception = false # raised again by join
      yield
    end
  end

  def introduce
    nodes = @cluster.nodes.map { |node| "#{node} at #{node.url.delete_prefix("http://")}" }
    say("A server of three nodes runs: #{nodes.join(", ")}.")
    @cluster.create_bucket("demo")
    @client.create(PATH, content_type: :json)
    say("#{@cluster.wait_for_leader(PATH)} leads the stream #{PATH}. The client has only the URL of #{@known}.")
    say("A producer appends #{figure(TOTAL)} messages, #{figure(RATE)} a second. A tail reads them.")
  end

  # Appends at a constant rate, whatever the server does. The producer keeps the messages that are not delivered yet.
  def produce
    DurableStreams::Producer.open(**producer_options) do |producer|
      started = now
      while @appended < TOTAL
        due = [((now - started) * RATE).ceil, TOTAL].min
        producer.append(@appended += 1) while @appended < due
        @progress.update(:appended, @appended)
        sample_when_due
        sleep(TICK)
      end
    end
    @client.stream(PATH).close_stream
    sleep(TICK) until @delivered == TOTAL # callbacks may still wait for their thread
  end

  # Counts the requests: a header's value is computed for each one. Without a value, the header is not sent.
  def producer_options
    counter = lambda do
      @requests += 1
      nil
    end
    { stream: @client.stream(PATH, headers: { "X-Counter" => counter }), producer_id: "demo", auto_claim: true,
      on_delivery: ->(_result, count) { deliver(count) } }
  end

  def deliver(count)
    @batches += 1
    @delivered += count
    @delivery_times << now
    @progress.update(:delivered, @delivered)
  end

  def follow
    @client.stream(PATH).read_json(live: :sse).each_batch do |batch|
      @seen.concat(batch.items)
      @progress.update(:tailed, @seen.size)
    end
  end

  def fail_leader
    sleep(TICK) until @appended >= KILLED_AT
    leader = @cluster.wait_for_leader(PATH)
    say("kill -9: #{leader}, the leader. #{figure(@delivered)} messages are delivered.")
    note("kill -9: #{leader}")
    killed = now
    leader.kill
    successor = @cluster.wait_for_leader(PATH)
    note("#{successor} leads")
    say("#{successor} leads now, #{seconds(now - killed)} after the kill. " \
        "#{figure(@appended - @delivered)} messages wait in the producer.")
    leader.restart
    say("#{leader} runs again, and catches up.")
  end

  def sample_when_due
    return if @sampled_at && now - @sampled_at < COLUMN

    @sampled_at = now
    sample
  end

  def sample
    @chart.sample(appended: @appended, delivered: @delivered, tailed: @seen.size)
  end

  def note(text)
    @chart.mark(text)
  end

  def sum_up
    puts
    @chart.lines.each { |line| puts "          #{line}" }
    puts
    say("The longest pause between two deliveries was #{seconds(longest_pause)}.")
    say("The producer delivered #{figure(@batches)} batches with #{figure(@requests)} requests: " \
        "#{figure(@requests - @batches)} were sent again.")
  end

  def longest_pause
    @delivery_times.each_cons(2).map { |before, after| after - before }.max
  end

  # @return [Boolean]
  def verify
    copies = @cluster.nodes.to_h do |node|
      stored = DurableStreams::Client.open(base_url: node.url) { |client| client.stream(PATH).read_all }
      ["Read back from #{node}", stored]
    end
    copies["Read by the tail"] = @seen
    proved = copies.map { |what, items| report(what, items) }.all?
    say(proved ? "Each message is stored once, and in order." : "This is wrong: please report it.")
    proved
  end

  # @return [Boolean] whether the items are all messages, each once, in order
  def report(what, items)
    distinct = items.uniq.size
    disorder = items.each_cons(2).count { |one, other| one > other }
    say("#{what}: #{figure(items.size)} messages, #{TOTAL - distinct} missing, #{items.size - distinct} twice, " \
        "#{disorder} out of order.")
    items == (1..TOTAL).to_a
  end

  def say(text)
    @progress.say(format("%<at>6.1f s  %<text>s", at: now - @started, text: text))
  end

  def seconds(number)
    format("%.1f s", number)
  end

  # @return [String] 1234567 as "1,234,567"
  def figure(number)
    number.to_s.gsub(/(?<=\d)(?=(\d{3})+\z)/, ",")
  end
end

begin
  exit ClusterDemo.run
rescue Cluster::StartError, DurableStreams::Error => e
  abort "demo: #{e.message}"
rescue Interrupt
  abort "demo: interrupted"
end
