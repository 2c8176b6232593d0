# frozen_string_literal: true

require "socket"
require_relative "subscription_events"
require_relative "worker/changes"
require_relative "worker/keeper"
require_relative "worker/blocks"
require_relative "worker/wakes"
require_relative "worker/threads"

module DurableStreams
  # Handles the new messages of all streams of one or more subscriptions of type :pull_wake. The server remembers how
  # far each stream is handled, and wakes a worker when there is more.
  #
  # Any number of workers, in any number of processes and machines, may share a subscription. One of them has its claim
  # at a time, and the others stand by: if its process is killed, one of them takes over when the lease has run out. To
  # spread work over a fleet, make several subscriptions. A worker takes any number of them.
  #
  # Every batch is handled at least once. It is handled again if its block raised, if the process was killed, or if the
  # claim was lost, because the lease could not be prolonged in time. `batch.offset`, saved together with what the block
  # does, makes it exactly once: {file:docs/workers.md} shows how.
  #
  # @example
  #   worker = DurableStreams::Worker.new(client, ["orders"])
  #   trap("TERM") { worker.stop }
  #   worker.run do |stream, batch|
  #     batch.items.each { |order| ship(order) }
  #   end
  class Worker
    # Seconds that the end of a process, or of {#run} by an exception, may take to give claims back.
    EXIT_LIMIT = 5.0
    private_constant :EXIT_LIMIT

    @running = []
    @registering = Mutex.new

    class << self
      # Gives the claims of this process back, at its end.
      # @api private
      def give_back_claims
        deadline = now + EXIT_LIMIT
        running = @running.select { |worker, process| process == Process.pid && worker.begin_exit }
        running.each { |worker, _| worker.wait_for_end(deadline) }
      end

      # Registers a running worker during the block.
      # @api private
      def register(worker)
        @registering.synchronize { @running += [[worker, Process.pid]] }
        yield
      ensure
        @registering.synchronize { @running -= [[worker, Process.pid]] }
      end

      # @api private
      # @return [Float]
      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end

    at_exit { give_back_claims }

    # @return [String, nil] the name under which it claims; nil if there is none yet: {#run} makes one
    attr_reader :name

    # @param client [Client] of the server that has the subscriptions
    # @param ids [Array<String>, String] subscriptions of type :pull_wake
    # @param name [String, nil] shown to workers that do not get the claim; nil: host, process and a random number
    # @param concurrency [Integer] how many threads run the block, each for one stream at a time
    # @param on_error [#call, nil] called with an error and the {Stream}, on the thread that ran the block: what the
    #   block raised; {FencedError} if a batch was handled and cannot be acked, because the claim has ended; or what a
    #   read raised. The batch will be handled again. nil: it is logged
    # @raise [ArgumentError] if an argument is invalid
    def initialize(client, ids, name: nil, concurrency: 5, on_error: nil, **unknown)
      Options.refuse_unknown(unknown, Worker.instance_method(:initialize))
      @client = Options.instance("client", client, Client)
      @ids = ids_of(ids)
      @name = name.nil? ? nil : name_of(name)
      @concurrency = Options.integer("concurrency", concurrency, 1..1_000)
      @on_error = Options.callable("on_error", on_error)
      @running = Mutex.new
      @stopped = false
      @stop = Native::StopSignal.new
      @threads = nil
      @changes = Changes.new
      @ended = true
    end

    # Handles streams until {#stop}. A batch is acked when the block has returned; meanwhile the lease is prolonged. The
    # blocks of one stream run one after the other, those of several streams on several threads. Goes on after outages
    # of the server.
    #
    # If the block raises, the batch is not acked, and the claim is given back, so that another worker can try. Repeated
    # failures of one stream are tried again after growing pauses, of up to a minute. Other streams do not wait for it,
    # or for a few seconds only.
    #
    # If an exception ends `run` (Ctrl-C, Timeout, Thread#kill), the threads that run blocks are killed. Claims are
    # given back in all cases, also if the process exits. After an exception, the same worker may run again.
    # @yieldparam stream [Stream] its {Stream#path} is as in the subscription
    # @yieldparam batch [JsonBatch, ByteChunk] with data; at most one server response
    # @return [nil] after {#stop}
    # @raise [ArgumentError] without a block, or if a subscription is a webhook
    # @raise [ThreadError] if this worker is already running
    # @raise [StreamNotFoundError] if a subscription or its wake stream does not exist
    # @raise [SubscriptionsNotSupportedError] if the server has no subscriptions
    # @raise [DurableStreamError] if the server rejects claims, for instance with 401
    def run(&block)
      raise ArgumentError, "run requires a block, which receives a stream and a batch" unless block
      raise ThreadError, "this worker is already running: make another one" if @running.locked?

      @running.synchronize do
        @exits = @ended = false # Before the end of the process can find it.
        Worker.register(self) { work(block) unless stopped? }
      ensure
        @changes.change { @ended = true }
      end
      nil
    end

    # Ends {#run}: running blocks finish, their batches are acked, and the claims are given back. A stopped worker
    # remains stopped. May be called from any thread, from the block, and from a trap handler; before {#run}, too.
    # @return [nil]
    def stop
      @stopped = true
      @stop.stop
      @threads&.signal(:stop)
      nil
    end

    # @return [Boolean] whether {#stop} was called
    def stopped?
      @stopped
    end

    # @return [String]
    def inspect
      "#<#{self.class} #{@ids.join(", ")} name=#{@name.inspect} stopped=#{stopped?}>"
    end

    # Begins to give the claims back, at the end of the process.
    # @api private
    # @return [Boolean] whether that will happen on another thread
    def begin_exit
      return false if @running.owned?

      @exits = true
      @stop.stop
      @threads&.signal(:exit)
      true
    end

    # @api private
    # @param deadline [Float]
    def wait_for_end(deadline)
      @changes.synchronize { @changes.wait([deadline - Worker.now, 0].max) until @ended || Worker.now >= deadline }
    end

    private

    def ids_of(ids)
      ids = [ids] if ids.is_a?(String)
      Options.instance("ids", ids, Array, "a String or an Array of Strings")
      raise ArgumentError, "ids must name at least one subscription" if ids.empty?

      ids.each { |id| Options.instance("ids", id, String, "a String or an Array of Strings") }
      ids.map { |id| Text.utf8(id, "ids") }.uniq
    end

    def name_of(name)
      Options.instance("name", name, String, "a String or nil")
      raise ArgumentError, "name must not be empty" if name.empty?

      Text.utf8(name, "name")
    end

    def work(block)
      @stop = Native::StopSignal.new # Ends the waits of this run. Takes no lock, so a trap handler can stop it.
      @name ||= "#{Socket.gethostname}:#{Process.pid}:#{SecureRandom.hex(3)}"
      threads = @threads = Threads.new
      threads.signal(:exit) if @exits # It has begun before there were threads to signal.
      done = false
      prepare(threads, block)
      supervise(threads)
      done = true
    ensure
      give_up(threads) unless done
      @threads = nil
    end

    # Makes what the threads do, and starts them.
    def prepare(threads, block)
      subscriptions = @client.subscriptions
      wake_streams = @ids.to_h { |id| [id, wake_stream_of(id, subscriptions.find(id))] }
      @keepers = @ids.map { |id| Keeper.new(subscriptions, id, @name, @changes) }
      wakes = @keepers.group_by { |keeper| wake_streams.fetch(keeper.id) }.map do |path, keepers|
        Wakes.new(@client.stream(path, content_type: :json), keepers, @stop)
      end
      blocks = Blocks.new(@client, @keepers, @changes, @stop) { |error, stream| report(error, stream) }
      wakes.each { |wake| threads.start("durable_streams wakes") { wake.run } }
      @keepers.each { |keeper| threads.start("durable_streams claim") { keeper.run { blocks.wait_for?(keeper) } } }
      @concurrency.times { threads.start("durable_streams worker") { blocks.run(&block) } }
    end

    def wake_stream_of(id, subscription)
      if subscription.nil?
        raise StreamNotFoundError.new("there is no subscription #{id.inspect}: create it first", status: nil)
      end
      return subscription.wake_stream if subscription.type == :pull_wake

      raise ArgumentError, "subscription #{id.inspect} is a #{subscription.type}: a Worker needs type :pull_wake"
    end

    def supervise(threads)
      failure = nil
      begin_to_stop if stopped?
      threads.supervise do |event|
        return give_up(threads) if event == :exit

        failure ||= event if event.is_a?(Exception)
        begin_to_stop
      end
      raise failure if failure
    end

    def report(error, stream)
      return log(error, stream) unless @on_error

      @on_error.call(error, stream)
    rescue *Blocks::RESCUED => e
      log(error, stream)
      DurableStreams.report(:error, "durable_streams: on_error of a worker raised #{e.class}: #{e.message}")
    end

    def log(error, stream)
      place = error.backtrace&.first
      DurableStreams.report(:error, "durable_streams: a worker failed at stream #{stream.path.inspect}: " \
                                    "#{error.class}: #{error.message}#{" (#{place})" if place}")
    end

    # Ends the reads, and lets the keepers give their claims back.
    def begin_to_stop
      @stop.stop
      @keepers.each(&:stop)
    end

    # Gives the claims back without waiting for running blocks.
    def give_up(threads)
      return unless @keepers

      deadline = Worker.now + EXIT_LIMIT
      begin_to_stop
      blocks = threads.named("durable_streams worker").each(&:kill)
      threads.join(blocks, deadline)
      threads.join(threads.named("durable_streams claim"), deadline)
    ensure
      threads.kill
    end
  end
end
