# frozen_string_literal: true

require "securerandom"

module Conformance
  # The operations of the suite's benchmarks (`--bench`). Only the operation is measured, not creating payloads or
  # counting bytes.
  class Benchmark
    COMMANDS = { "benchmark" => :benchmark }.freeze

    OPERATIONS = %w[append read roundtrip create throughput_append throughput_read].freeze
    LIVE = { "long-poll" => :long_poll, "sse" => :sse, nil => :long_poll }.freeze
    # Reads request uncompressed responses, as the Rust client gets them. Otherwise the server compresses even the
    # shortest response, which takes longer than everything that a client does.
    UNCOMPRESSED = { "Accept-Encoding" => "identity" }.freeze

    # @param session [Session]
    def initialize(session)
      @session = session
      @streams = {} # by path
      @payloads = Hash.new { |all, size| all[size] = ("*" * size).freeze }
      @sizes = {} # bytes in a stream, by path
    end

    def benchmark(command)
      operation = command.fetch("operation")
      name = operation.fetch("op")
      raise NotImplementedCommand, "#{name} is an unknown operation" unless OPERATIONS.include?(name)

      nanoseconds, metrics = send(name, operation)
      { iterationId: command["iterationId"], durationNs: nanoseconds.to_s, metrics: metrics }
    end

    private

    # @return [Array(Integer, Object)] nanoseconds, and the block's value
    def measured
      start = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
      value = yield
      [Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond) - start, value]
    end

    # @return [DurableStreams::Stream] a handle for a stream of bytes that the suite created
    def stream(operation)
      @streams[operation.fetch("path")] ||= handle(operation["path"], :bytes)
    end

    def handle(path, content_type)
      @session.client.stream(path, content_type: content_type, headers: UNCOMPRESSED)
    end

    def append(operation)
      stream = stream(operation)
      payload = @payloads[operation.fetch("size")]
      nanoseconds, = measured { stream.append(payload) }
      [nanoseconds, { bytesTransferred: payload.bytesize }]
    end

    def read(operation)
      stream = stream(operation)
      nanoseconds, body = measured { stream.read_bytes(offset: operation["offset"], &:body) }
      [nanoseconds, { bytesTransferred: body.bytesize }]
    end

    def create(operation)
      client = @session.client
      nanoseconds, = measured { client.create(operation.fetch("path"), content_type: content_type(operation)) }
      [nanoseconds, {}]
    end

    # Creates a stream and appends to it while a live read waits. Ends when the data have arrived.
    def roundtrip(operation)
      live = LIVE.fetch(operation["live"])
      size = operation.fetch("size")
      type = content_type(operation)
      data = DurableStreams.json_content_type?(type) ? { data: @payloads[size] } : @payloads[size]
      nanoseconds, received = measured do
        stream = @session.client.create(operation.fetch("path"), content_type: type, headers: UNCOMPRESSED)
        reading = Thread.new { first_data(stream, live) }
        stream.append(data)
        reading.value
      end
      [nanoseconds, { bytesTransferred: size + received.bytesize }]
    end

    # @return [String] the received bytes
    def first_data(stream, live)
      stream.read_bytes(live: live) do |reader|
        reader.each { |chunk| return chunk.data unless chunk.data.empty? }
      end
    end

    # Uses a producer, the gem's way to append many messages, and ignores the suite's concurrency.
    def throughput_append(operation)
      count, size = operation.fetch_values("count", "size")
      payload = @payloads[size]
      stream = stream(operation).create(content_type: :bytes)
      nanoseconds, = measured do
        DurableStreams::Producer.open(stream: stream, producer_id: SecureRandom.uuid) do |producer|
          count.times { producer.append(payload) }
        end
      end
      [nanoseconds, { bytesTransferred: count * size, messagesProcessed: count }]
    end

    # Parses and yields every message. The size is that of the stream, which is read as bytes once, not measured.
    def throughput_read(operation)
      path = operation.fetch("path")
      stream = handle(path, :json)
      @sizes[path] ||= stream.read_bytes { |reader| reader.sum { |chunk| chunk.data.bytesize } }
      nanoseconds, count = measured do
        messages = 0
        stream.read_json { |reader| reader.each { messages += 1 } }
        messages
      end
      [nanoseconds, { bytesTransferred: @sizes[path], messagesProcessed: count }]
    end

    def content_type(operation)
      operation["contentType"] || "application/octet-stream"
    end
  end
end
