# frozen_string_literal: true

require "time"

module Conformance
  # All operations of a stream except reading, and the dynamic values.
  #
  # The gem's methods do not return the status of a successful response. The suite expects one: 200, or for `create` 201
  # or 200.
  class StreamCommands
    COMMANDS = { "create" => :create, "connect" => :connect, "append" => :append, "head" => :head,
                 "delete" => :delete, "close" => :close, "set-dynamic-header" => :dynamic_header,
                 "set-dynamic-param" => :dynamic_param, "clear-dynamic" => :clear_dynamic }.freeze

    # @param session [Session]
    def initialize(session)
      @session = session
    end

    # The status is 201 if the stream did not exist before, which an additional request finds out.
    def create(command)
      stream = @session.stream(command, content_type: command["contentType"] || "application/octet-stream")
      existed = stream.exists?
      stream.create(ttl_seconds: command["ttlSeconds"], expires_at: command["expiresAt"], body: command["data"],
                    closed: command["closed"])
      @session.remember(command["path"], stream)
      { status: existed ? 200 : 201 }
    end

    def connect(command)
      stream = @session.client.connect(command["path"], headers: command["headers"] || {})
      @session.remember(command["path"], stream)
      { status: 200 }
    end

    def append(command)
      stream = @session.stream(command)
      return append_as_producer(command, stream) if command["producerId"]

      result = stream.append(payload(command), seq: command["seq"]&.to_s)
      @session.remember(command["path"], stream)
      { status: 200, offset: result.next_offset, **@session.sent }
    end

    def head(command)
      stream = @session.stream(command)
      head = stream.head
      @session.remember(command["path"], stream)
      { status: 200, offset: head.offset, contentType: head.content_type, ttlSeconds: head.ttl_seconds,
        expiresAt: head.expires_at&.iso8601, streamClosed: head.closed? }
    end

    def delete(command)
      @session.stream(command).delete
      @session.content_types.delete(command["path"])
      { status: 200 }
    end

    def close(command)
      result = @session.stream(command).close_stream(data: command["data"], content_type: command["contentType"])
      { finalOffset: result.final_offset }
    end

    def dynamic_header(command)
      @session.headers[command.fetch("name")] = DynamicValue.new(command["valueType"], command["initialValue"])
      {}
    end

    def dynamic_param(command)
      @session.params[command.fetch("name")] = DynamicValue.new(command["valueType"])
      {}
    end

    def clear_dynamic(_command)
      @session.headers.clear
      @session.params.clear
      {}
    end

    private

    # Appends one message with the command's sequence number.
    def append_as_producer(command, stream)
      result = DurableStreams::Producer.open(
        stream: stream, producer_id: command["producerId"], epoch: command["producerEpoch"] || 0,
        next_seq: command["producerSeq"] || 0, linger_ms: 0
      ) { |producer| producer.append!(payload(command)) }
      { status: result.duplicate? ? 204 : 200, offset: result.next_offset, duplicate: result.duplicate?,
        producerEpoch: result.epoch, producerSeq: result.seq, **@session.sent }
    end

    def payload(command)
      command["binary"] ? command.fetch("data").unpack1("m") : command.fetch("data")
    end
  end
end
