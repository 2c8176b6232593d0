# frozen_string_literal: true

require "durable_streams"

module DurableStreams
  # Passes a stream on to a browser as server-sent events, for the browser's `EventSource`. It is a Rack body. {.app}
  # makes a Rack application of it, which also responds with the right status if the stream cannot be read.
  #
  # Each JSON item, or chunk of text, is one unnamed event; its data is the item as JSON on one line, or the text. Each
  # event has an `id:`. After the last item of a batch it is the stream's offset, before that an offset, a slash and how
  # many items (of text: bytes) after the offset the browser has. So an EventSource that reconnects, with the last id in
  # its Last-Event-ID header, misses and repeats nothing. A page that is reloaded keeps the `lastEventId` of its last
  # event itself, and passes it on as the `offset` parameter of {.app}, or in whatever way the application likes.
  #
  # At the end of a closed stream comes an event named `end`, on which the page closes its EventSource. An outage of the
  # Durable Streams server is waited for, also if you chose the retry policy: an EventSource that reconnected meanwhile
  # would stop for good. Another failure of the stream ends the response, so that the EventSource reconnects and learns
  # the reason from the status.
  #
  # Text comes as UTF-8, with LF as the end of a line, since server-sent events know no other.
  #
  # Each browser has a connection to the Durable Streams server, and occupies a thread of a server with threads. See
  # {file:docs/browsers.md}.
  #
  # @example a Rack application
  #   run DurableStreams::EventStream.app { |env| client.stream(env["PATH_INFO"]) if allowed?(env) }
  class EventStream
    # Headers of a response with this body. `last-modified` keeps Rack 2's Rack::ETag from waiting for the whole body.
    HEADERS = {
      "content-type" => "text/event-stream",
      "cache-control" => "no-store",
      "x-accel-buffering" => "no",
      "last-modified" => "Thu, 01 Jan 1970 00:00:00 GMT"
    }.freeze

    # A comment, which EventSource ignores.
    COMMENT = ":\n\n"
    # The id of an event. Offsets contain no slash.
    ID = %r{\A([^/[:cntrl:]]+)(?:/(?:(\d{1,15})|(end)))?\z}
    private_constant :COMMENT, :ID

    # Makes a Rack application that responds to GET requests with the events of a stream. A browser continues where its
    # Last-Event-ID header says, else where the request's `offset` parameter says, else at the beginning.
    #
    # If the stream cannot be read, the status is the server's if it is a 4xx, such as 404, but not 429; otherwise it is
    # 503. Other methods than GET are a 405. After the `end` event, a further request of the same EventSource is a 204,
    # which makes it stop.
    # @param heartbeat [Numeric] see {#initialize}
    # @yieldparam env [Hash] the request's Rack environment
    # @yieldreturn [Stream, nil] the stream that this browser may read; nil: the response is a 404
    # @return [#call] responds to `call(env)`
    # @raise [ArgumentError] if heartbeat is invalid, or there is no block
    def self.app(heartbeat: 15, &block)
      raise ArgumentError, "EventStream.app requires a block, which returns the stream for a request" unless block

      App.new(Options.positive("heartbeat", heartbeat), block)
    end

    # The HTTP status of the response to a browser after an error. After any of them, an EventSource does not connect
    # again.
    # @api private
    # @param error [DurableStreamError]
    # @return [Integer]
    def self.status_of(error)
      status = error.status.to_i
      status.between?(400, 499) && status != 429 ? status : 503
    end

    # Logs an error that only the browser learns of.
    # @api private
    # @param error [DurableStreamError]
    # @return [nil]
    def self.report(error)
      severity = status_of(error) == 503 && !error.is_a?(ClosedError) ? :warn : :info
      DurableStreams.report(severity, "durable_streams: event stream for a browser: #{error.message}")
    end

    # Sends nothing yet.
    # @param stream [Stream] with JSON or text
    # @param offset [String, nil] where to begin: the id of an event, an offset, "-1" (also nil, ""): the beginning, or
    #   "now": the end
    # @param last_event_id [String, nil] the request's Last-Event-ID header. Replaces offset unless it is nil or ""
    # @param heartbeat [Numeric] seconds after which a comment is sent if there is no event. Comments show whether the
    #   browser is still there: at the latest, the second one after it left cannot be written
    # @raise [ArgumentError] if an argument is invalid
    def initialize(stream, offset: nil, last_event_id: nil, heartbeat: 15, **unknown)
      Options.refuse_unknown(unknown, EventStream.instance_method(:initialize))
      @stream = Options.instance("stream", stream, Stream)
      @heartbeat = Options.positive("heartbeat", heartbeat)
      @offset, @count, @ended = parse(last_event_id, "last_event_id") || parse(offset, "offset") || ["-1", 0, false]
      @reader = nil
      @first = :none
      @stop = Native::StopSignal.new # With it, a reader goes on after outages, until it is closed.
    end

    # Sends the first request and waits for its response, for `heartbeat` seconds at most. Call it before the response
    # begins, so that the status of the response can still report an error. {#each} calls it otherwise.
    # @return [EventStream] self
    # @raise [StreamNotFoundError] if the stream does not exist
    # @raise [BadRequestError] if the server does not know the offset
    # @raise [ArgumentError] if the stream has neither JSON nor text
    # @raise [DurableStreamError] see {Stream#read}
    def open
      return self if @reader || @ended

      type = @stream.known_content_type(:read)
      @reader, @encoder = ContentType.json?(type) ? json : text(type)
      begin
        @first = @reader.poll(@heartbeat)
      rescue StandardError # An interrupt, such as Timeout, ends the request by itself.
        close
        raise
      end
      self
    end

    # Whether this browser has received the `end` event before. Respond with 204 then, which stops its EventSource.
    # @return [Boolean]
    def ended?
      @ended
    end

    # Yields parts of the response until the stream ends, {#close} is called, or reading fails. A failure is logged.
    # @yieldparam part [String]
    # @return [EventStream, Enumerator] self; without a block, an Enumerator
    # @raise [DurableStreamError, ArgumentError] as {#open}, if that was not called
    def each(&block)
      return enum_for(:each) unless block

      open
      begin
        @ended ? yield(Encoder.end_of(@offset)) : pass_on(&block)
      rescue DurableStreamError => e
        self.class.report(e)
      ensure
        close
      end
      self
    end

    # Ends the reading, from any thread, also before it has begun. Web servers call it when the browser is gone.
    # @return [nil]
    def close
      @stop.stop
      @reader&.close
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@stream.url)} offset=#{@offset.inspect}>"
    end

    private

    def parse(id, name)
      return if id.nil? || id == ""

      offset, count, ended = Text.utf8(Options.instance(name, id, String), name).match(ID)&.captures
      Options.refuse(name, "an offset or the id of an event", id) unless offset

      [offset, count.to_i, !ended.nil?]
    end

    def json
      [JsonReader.new(@stream, offset: @offset, live: :auto, stop: @stop), Encoder::Items.new(@offset, @count)]
    end

    # By long-poll, because SSE does not carry text exactly.
    def text(type)
      unless ContentType.text?(type)
        raise ArgumentError, "EventStream needs a stream of JSON or text; #{Redaction.url(@stream.url)} is #{type}"
      end

      [ByteReader.new(@stream, offset: @offset, live: :long_poll, stop: @stop), Encoder::Chunks.new(@offset, @count)]
    end

    def pass_on(&block)
      batch = @first
      @first = :none
      started = false
      while batch
        if batch == :none
          yield COMMENT
        else
          # Without an event, the browser learns the offset alone: if it began at "now", it must not do so again.
          @encoder.encode(batch, &block) || yield(started ? COMMENT : @encoder.position)
          started = true
          return yield(Encoder.end_of(batch.next_offset)) if batch.stream_closed?
        end
        batch = @reader.poll(@heartbeat)
      end
    end
  end
end

require_relative "event_stream/app"
require_relative "event_stream/encoder"
