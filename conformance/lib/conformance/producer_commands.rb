# frozen_string_literal: true

module Conformance
  # Writes through producers.
  #
  # Single messages and their close use a shared producer, from the first command that names it until `detach`, as in a
  # program. A batch uses a new producer, which starts at sequence number 0, as in a program that runs again.
  class ProducerCommands
    COMMANDS = { "idempotent-append" => :append, "idempotent-append-batch" => :append_batch,
                 "idempotent-close" => :close, "idempotent-detach" => :detach }.freeze

    # One message per request, without linger, so that several requests are in flight.
    PIPELINED = { max_batch_items: 1, linger_ms: 0 }.freeze
    # All messages of a command in as few requests as possible.
    BATCHED = { linger_ms: 1_000 }.freeze

    # @param session [Session]
    def initialize(session)
      @session = session
      @producers = {} # by path, id and epoch
    end

    def append(command)
      result = shared(command).append!(command.fetch("data"))
      { status: 200, offset: result.next_offset, duplicate: result.duplicate?, producerSeq: result.seq }
    end

    def append_batch(command)
      in_flight = command["maxInFlight"] || 1
      settings = in_flight > 1 ? PIPELINED : BATCHED
      DurableStreams::Producer.open(**identity(command), max_in_flight: in_flight, **settings) do |producer|
        command.fetch("items").each { |item| producer << item }
        producer.flush
        { status: 200, producerSeq: producer.seq }
      end
    end

    # If the producer has already closed the stream, another one repeats the request with the same sequence number.
    def close(command)
      producer = shared(command)
      producer = again(producer, command) if producer.closed?
      { status: 200, finalOffset: producer.close_stream(data: command["data"]).final_offset }
    end

    def detach(command)
      @producers.delete(key(command))&.close
      { status: 200 }
    end

    private

    def shared(command)
      @producers[key(command)] ||= DurableStreams::Producer.new(**identity(command), linger_ms: 0)
    end

    def again(producer, command)
      DurableStreams::Producer.new(**identity(command), epoch: producer.epoch, next_seq: producer.seq)
    end

    def key(command)
      command.values_at("path", "producerId", "epoch")
    end

    def identity(command)
      { stream: @session.stream(command), producer_id: command.fetch("producerId"), epoch: command["epoch"] || 0,
        auto_claim: command["autoClaim"] }
    end
  end
end
