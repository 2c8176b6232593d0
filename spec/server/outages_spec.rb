# frozen_string_literal: true

require "logger"
require "stringio"
require "timeout"

# A server that is killed and started again, under tails, a producer and plain appends, with default settings.
on_each_server "An outage" do
  let(:log) { StringIO.new }
  let(:outage_server) { start_server(durability: :wal, long_poll_timeout_ms: 1_000) }
  let(:client) { DurableStreams::Client.new(base_url: outage_server.url) }
  let(:produced) { client.create("/produced", content_type: :json) }
  let(:appended) { client.create("/appended", content_type: :json) }
  # Locked while the producer must have nothing in flight.
  let(:sending) { Mutex.new }
  # The messages whose plain append succeeded, had an unknown outcome, or failed with a known outcome.
  let(:outcomes) { { stored: Queue.new, unknown: Queue.new, failed: Queue.new } }

  around do |example|
    logger = DurableStreams.logger
    DurableStreams.logger = Logger.new(log, formatter: ->(severity, _, _, text) { "#{severity} #{text}\n" })
    example.run
  ensure
    DurableStreams.logger = logger
  end

  after do
    threads.each { |thread| thread.kill.join }
    client.close
  end

  def threads
    @threads ||= []
  end

  def in_thread(&block)
    Thread.new(&block).tap { |thread| threads << thread }
  end

  # A tail: a thread whose value is all items of the stream. Each item is also put into the queue.
  def tail(stream, live, seen)
    in_thread { stream.read_json(live: live) { |reader| reader.each.map { |item| item.tap { seen << item } } } }
  end

  # Appends until it is stopped or the producer fails. The thread's value is the number of messages.
  def produce(producer)
    in_thread do
      count = 0
      until @stopped
        sending.synchronize { producer << count }
        count += 1
        Thread.pass while producer.pending > 100 && !@stopped
      end
      count
    rescue DurableStreams::SequenceGapError
      count
    end
  end

  # Appends until it is stopped, and notes the outcome of each message.
  def append(thread_number)
    in_thread do
      count = 0
      until @stopped
        message = [thread_number, count += 1]
        begin
          appended.append(message)
          outcomes[:stored] << message
        rescue DurableStreams::DurableStreamError => e
          outcomes[e.outcome_unknown? ? :unknown : :failed] << message
        end
      end
    end
  end

  # The items of a queue, at least `count`. Fails if they do not come: a tail, the producer or the appends have ended.
  def take(queue, count = queue.size)
    Timeout.timeout(120) { Array.new([count, queue.size].max) { queue.pop } }
  end

  # Waits until the queue has `count` items.
  def await(queue, count)
    take(queue, count).each { |item| queue << item }
  end

  # Runs everything through an outage of so many seconds. Returns the number of messages appended to the producer.
  def run_through_outage(seconds, seen, producer)
    producing = produce(producer)
    appending = Array.new(4) { |number| append(number) }
    [*seen, outcomes[:stored]].each { |queue| await(queue, 50) }
    sending.synchronize do
      # Killed between storing a batch and the producer's state, the Node server would store a repeated batch twice.
      producer.flush
      outage_server.kill
    end
    sleep(seconds) # The length of the outage is what is tested.
    before = outcomes[:stored].size
    outage_server.restart
    await(outcomes[:stored], before + 50)
    yield
    @stopped = true
    appending.each(&:join)
    producing.value
  end

  # No success and no known failure of a plain append is wrong.
  def check_appends
    stored = appended.read_json.to_a
    expect(stored.uniq).to eq(stored)
    expect(take(outcomes[:stored]) - stored).to eq([])
    expect(stored & take(outcomes[:failed])).to eq([])
  end

  # Each of these logs the outage's beginning and its end.
  def check_log(operations)
    operations.each do |operation, count|
      expect(log.string.scan(/^WARN durable_streams: outage: #{operation} /).size).to eq(count)
      expect(log.string.scan(/^INFO durable_streams: outage over: #{operation} \S+ succeeded again/).size).to eq(count)
    end
  end

  [1, 5, 60].each do |seconds|
    it "of #{seconds} s loses nothing, repeats nothing, and is logged once" do
      seen = Array.new(2) { Queue.new }
      tails = %i[long_poll sse].zip(seen).map { |live, queue| tail(produced, live, queue) }
      producer = DurableStreams::Producer.new(stream: produced, producer_id: "outage")
      count = run_through_outage(seconds, seen, producer) do
        seen.each(&:clear)
        # The Rust server keeps the state of producers in memory only.
        server_kind == :node ? seen.each { |queue| take(queue, 50) } : producer.flush
      rescue DurableStreams::SequenceGapError => e
        @gap = e
      end
      @gap ? check_gap(producer, count) : producer.close
      [produced, appended].each(&:close_stream)

      items = produced.read_json.to_a
      expect(tails.map(&:value)).to all(eq(items))
      expect(items).to eq((0...(@gap ? items.size : count)).to_a)
      check_appends
      check_log("read" => 2, **(@gap ? {} : { "produce to" => 1 }))
    end
  end

  # The producer says which messages it does not know to be stored. All others are.
  def check_gap(producer, count)
    expect(server_kind).to eq(:rust)
    undelivered = @gap.undelivered
    expect(@gap.message).to match(/the server has no record of this producer/)
    expect(undelivered).to eq((count - undelivered.size...count).to_a)
    expect(undelivered.size).to eq(producer.pending)
    expect(produced.read_json.to_a.size).to be >= count - undelivered.size
  end
end
