# frozen_string_literal: true

module Conformance
  # Reads, in every mode.
  #
  # A live read of the gem does not end while the stream is open. The command ends it by the first of: `maxChunks`,
  # being up to date (with `waitForUpToDate`), an empty poll after some data, and `timeoutMs`, which closes the reader.
  class ReadCommand
    COMMANDS = { "read" => :read }.freeze

    LIVE = { "long-poll" => :long_poll, "sse" => :sse, true => :auto, false => :off, nil => :off }.freeze
    # The suite's defaults.
    TIMEOUT_MS = 5_000
    MAX_CHUNKS = 100

    # @param session [Session]
    def initialize(session)
      @session = session
    end

    def read(command)
      live = LIVE.fetch(command["live"]) { |other| raise ArgumentError, "#{other.inspect} is an unknown live mode" }
      stream = @session.stream(command)
      reader = stream.read(offset: command["offset"], live: live)
      @session.remember(command["path"], stream)
      chunks = []
      timed_out = limit(reader, command["timeoutMs"] || TIMEOUT_MS, live) { collect(reader, command, live, chunks) }
      # If a request is open until the timeout, the server has no more data.
      { status: reader.status || 200, chunks: chunks, offset: reader.offset, cursor: reader.cursor,
        upToDate: reader.up_to_date? || timed_out, streamClosed: reader.stream_closed?, **@session.sent }
    ensure
      reader&.close
    end

    private

    def collect(reader, command, live, chunks)
      reader.each_batch do |batch|
        chunk = chunk_of(batch)
        break if chunk.nil? && live == :long_poll && chunks.any?

        chunks << chunk if chunk
        break if enough?(command, chunks, batch)
      end
    end

    def enough?(command, chunks, batch)
      chunks.size >= (command["maxChunks"] || MAX_CHUNKS) || (command["waitForUpToDate"] && batch.up_to_date?)
    end

    # Closes the reader at the timeout, which ends the block's iteration.
    # @return [Boolean] whether it timed out
    def limit(reader, milliseconds, live, &block)
      return block.call && false if live == :off

      reading = Thread.new(&block)
      reading.report_on_exception = false # `value` raises it
      timed_out = reading.join(milliseconds / 1000.0).nil?
      reader.close if timed_out
      reading.value
      timed_out
    end

    # @return [Hash, nil] nil for an empty batch
    def chunk_of(batch)
      if batch.respond_to?(:items)
        { data: JSON.generate(batch.items), offset: batch.offset } unless batch.items.empty?
      elsif !batch.data.empty?
        text = batch.data.dup.force_encoding(Encoding::UTF_8)
        return { data: text, offset: batch.offset } if text.valid_encoding?

        { data: [batch.data].pack("m0"), binary: true, offset: batch.offset }
      end
    end
  end
end
