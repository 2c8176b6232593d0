# frozen_string_literal: true

require "timeout"
require_relative "fault_server"
require_relative "server_helpers"

# What examples marked `:producer` share: a stream on the real server, and the way to it through a proxy that fails on
# command.
module ProducerHelpers
  # Seconds no example takes unless it hangs, on a machine however slow.
  LIMIT = 600

  # @return [String] the path of this example's stream
  def path
    @path ||= unique_path("producer")
  end

  # @return [DurableStreams::Stream] it, on the real server
  def stream
    @stream ||= DurableStreams::Stream.create(server_url + path, content_type: stream_type)
  end

  # @return [String] what examples may override
  def stream_type
    "application/json"
  end

  # @return [FaultServer] passes everything on to the real server but what the example scripts
  def faults
    @faults ||= FaultServer.shared.tap do |faults|
      stream
      faults.proxy(server_url)
    end
  end

  # A producer to the stream through the proxy, which retries quickly; it is closed with the example.
  # @param options [Hash] as for Producer.new, and `timeout:` as for Client.new
  # @return [DurableStreams::Producer]
  def proxied(timeout: 30, **options)
    client = DurableStreams::Client.new(base_url: faults.url, timeout: timeout, retry_policy: quick)
    produce(url: path, client: client, **options)
  end

  # A producer straight to the stream.
  # @param options [Hash] as for Producer.new
  # @return [DurableStreams::Producer]
  def direct(**options)
    produce(stream: stream, **options)
  end

  # @return [DurableStreams::RetryPolicy]
  def quick(max_retries: 5)
    DurableStreams::RetryPolicy.new(max_retries: max_retries, initial_delay: 0.001, max_delay: 5)
  end

  # @return [Array] what is in the stream
  def stored
    stream.read_all
  end

  # Has the nth append from now on held at a gate of that name, before (or, `applied`, after) the real server has it.
  # @return [nil]
  def hold(gate, applied: false)
    faults.next("POST", path) do |reply|
      reply.forward(server_url) if applied
      reply.wait(gate, patient: true)
      reply.forward(server_url) unless applied
      reply.answer
    end
    nil
  end

  # Has messages on their way, each in a request of its own that is held at a gate before the real server has it.
  # @return [nil]
  def send_and_hold(producer, messages, gate)
    messages.each do |message|
      hold(gate)
      producer << message
    end
    faults.wait_until_waiting(gate, messages.size)
  end

  # Takes the producer's id away, with a message.
  # @return [DurableStreams::ProducerResult]
  def fence(epoch, message = "rival")
    direct(epoch: epoch).append!(message.to_json)
  end

  # What a block raises, which must be an error of delivery.
  # @return [Exception]
  def failure
    yield
    raise "nothing was raised"
  rescue DurableStreams::ProducerError => e
    e
  end

  # @return [Float] seconds that the block took
  def seconds(&block)
    timed(&block)
  end

  # @return [Array<DurableStreams::Producer>] to be closed
  def producers
    @producers ||= []
  end

  private

  def produce(**options)
    DurableStreams::Producer.new(producer_id: "writer", **options).tap { |producer| producers << producer }
  end
end

RSpec.configure do |config|
  config.include ProducerHelpers, :producer
  config.around(:each, :producer) { |example| Timeout.timeout(ProducerHelpers::LIMIT) { example.run } }
  config.after(:each, :producer) do
    producers.each do |producer|
      producer.close(timeout: 0)
    rescue DurableStreams::ProducerError
      nil # The example knows; this only ends what is still at work.
    end
  end
end
