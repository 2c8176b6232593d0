# frozen_string_literal: true

require "timeout"
require_relative "fault_server"
require_relative "server_helpers"

# Helpers for examples with `:producer`: a stream on the real server, and a proxy to it that can inject faults.
module ProducerHelpers
  # Seconds after which an example counts as hanging, even on a slow machine.
  LIMIT = 600

  # @return [String] the path of this example's stream
  def path
    @path ||= unique_path("producer")
  end

  # @return [DurableStreams::Stream] this example's stream on the real server
  def stream
    @stream ||= DurableStreams::Stream.create(server_url + path, content_type: stream_type)
  end

  # The stream's content type. Examples may override it.
  # @return [String]
  def stream_type
    "application/json"
  end

  # @return [FaultServer] a proxy that passes everything to the real server, except what the example scripts
  def faults
    @faults ||= FaultServer.shared.tap do |faults|
      stream
      faults.proxy(server_url)
    end
  end

  # A producer that reaches the stream through the proxy and retries quickly. It is closed after the example.
  # @param options [Hash] as for Producer.new, and `timeout:` as for Client.new
  # @return [DurableStreams::Producer]
  def proxied(timeout: 30, **options)
    client = DurableStreams::Client.new(base_url: faults.url, timeout: timeout, retry_policy: quick)
    produce(url: path, client: client, **options)
  end

  # A producer that reaches the stream directly.
  # @param options [Hash] as for Producer.new
  # @return [DurableStreams::Producer]
  def direct(**options)
    produce(stream: stream, **options)
  end

  # @return [DurableStreams::RetryPolicy]
  def quick(max_retries: 5)
    DurableStreams::RetryPolicy.new(max_retries: max_retries, initial_delay: 0.001, max_delay: 5)
  end

  # @return [Array] the stream's items
  def stored
    stream.read_all
  end

  # Makes the next append wait at a gate before it reaches the real server, or, with `applied`, afterwards. A second
  # call does so for the append after it.
  # @return [nil]
  def block_append(gate, applied: false)
    faults.next("POST", path) do |reply|
      reply.forward(server_url) if applied
      reply.wait(gate, patient: true)
      reply.forward(server_url) unless applied
      reply.send_response
    end
    nil
  end

  # Appends messages, each in its own request, and makes every request wait at a gate before it reaches the real server.
  # @return [nil]
  def send_blocked(producer, messages, gate)
    messages.each do |message|
      block_append(gate)
      producer << message
    end
    faults.wait_until_waiting(gate, messages.size)
  end

  # Fences the producer: another one with the same id and this epoch appends a message.
  # @return [DurableStreams::ProducerResult]
  def fence(epoch, message = "rival")
    direct(epoch: epoch).append!(message.to_json)
  end

  # The ProducerError that the block raises.
  # @return [Exception]
  def failure
    yield
    raise "nothing was raised"
  rescue DurableStreams::ProducerError => e
    e
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
      nil # The example has checked it; this only ends producers that still run.
    end
  end
end
