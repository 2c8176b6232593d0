# frozen_string_literal: true

require_relative "count"
require_relative "subscription_helpers"

# Helpers for example groups with `:subscriptions` that run workers.
module WorkerHelpers
  # Runs a worker on a thread until the example ends.
  # @return [Array(DurableStreams::Worker, Thread)] the thread's value is nil, or what `run` raised
  def work(ids, on: client, **options, &block)
    worker = DurableStreams::Worker.new(on, ids, **options)
    thread = Thread.new do
      worker.run(&block)
    rescue StandardError => e
      e
    end
    running_workers << [worker, thread]
    [worker, thread]
  end

  # @return [Object] the next object of a queue, for which it waits with a limit
  def take(queue)
    Timeout.timeout(ChildProcess::TIMEOUT) { queue.pop }
  end

  # @return [DurableStreams::Stream] a new stream of the subscription's folder
  def stream_of(id, name = "1", on: client, **options)
    on.create("#{id}/#{name}", content_type: :json, **options)
  end

  # Waits until everything in these streams is acked.
  def wait_until_acked(id, *streams)
    tails = streams.to_h { |stream| [stream.path, stream.head.next_offset] }
    wait_until("#{id} acked up to #{tails}") do
      acked = subscriptions.find(id).streams.to_h { |stream| [stream.path, stream.acked_offset] }
      acked.slice(*tails.keys) == tails
    end
  end

  # Polls the server, which tells nobody of acks.
  def wait_until(what, limit: ChildProcess::TIMEOUT)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + limit
    until yield
      raise "not within #{limit} s: #{what}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      Thread.pass
      sleep 0.02
    end
  end

  # @api private
  def running_workers
    @running_workers ||= []
  end
end

RSpec.configure do |config|
  config.include WorkerHelpers, :subscriptions
  config.prepend_after(:each, :subscriptions) do
    workers, threads = running_workers.transpose
    workers.to_a.each(&:stop)
    threads.to_a.each { |thread| thread.join(ChildProcess::TIMEOUT) || thread.kill.join }
  end
end
