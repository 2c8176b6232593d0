# frozen_string_literal: true

# Durable Streams: append-only streams that live at a URL, are read from any position, and tailed live.
#
# The methods here use one configuration for the whole process. {Client} is for whoever needs several, or wants to say
# when connections are closed.
module DurableStreams
  class << self
    # Where the library reports what it cannot raise to anyone. Warnings and worse go to standard error at first.
    # @return [Logger, nil]
    def logger
      return @logger if defined?(@logger)

      @logger = Logger.new($stderr, level: Logger::WARN)
    end

    # @param logger [Logger, nil] anything with Logger's methods; nil for silence
    attr_writer :logger

    # Reports what cannot be raised to anyone: to the logger, or, where that cannot be reached, as a warning.
    # @param severity [Symbol] the logger's method
    # @param message [String]
    # @return [nil]
    # @api private
    def report(severity, message)
      if Ractor.current == Ractor.main
        logger&.public_send(severity, message)
      else
        warn(message)
      end
      nil
    end

    # Reports what producers have to warn of. Not in a trap handler, where loggers cannot lock: it is kept for the next
    # call then.
    # @return [nil]
    # @api private
    def report_warnings
      return if in_trap_handler?

      while (warning = Native.next_warning)
        report(:warn, "durable_streams: #{warning}")
      end
    end

    # @return [Configuration] the configuration of the process, frozen: {configure} changes it
    attr_reader :configuration

    # Changes the configuration of the process. Streams that exist keep the one they were made with.
    #
    # @example
    #   DurableStreams.configure do |config|
    #     config.base_url = ENV["DURABLE_STREAMS_URL"]
    #     config.default_headers = { "Authorization" => -> { "Bearer #{token}" } }
    #   end
    # @yieldparam config [Configuration] a copy of the present one, frozen after the block
    # @return [Configuration]
    # @raise [ArgumentError] for settings that cannot be meant; nothing is changed then
    def configure
      config = configuration.dup
      yield config
      install(config)
    end

    # Goes back to the configuration that the process started with.
    # @return [Configuration]
    def reset_configuration!
      install(Configuration.new)
    end

    # A context of its own, with its own connections, that starts from the configuration of the process.
    # @yieldparam config [Configuration] a copy, to be changed
    # @return [Context]
    # @raise [ArgumentError] for settings that cannot be meant
    def new_context(&block)
      Context.new(configuration, &block)
    end

    # @return [Context] the context of the configuration of the process
    attr_reader :default_context

    # A handle for a stream. No request is made.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param context [Context]
    # @param options [Hash] what else {Stream#initialize} takes
    # @return [Stream]
    def stream(url, context: default_context, **options)
      Stream.new(url, context: context, **options)
    end

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param content_type [String, Symbol, nil] as {Stream#create} takes it
    # @param context [Context]
    # @param options [Hash] what else {Stream.create} takes
    # @return [Stream]
    # @raise [StreamExistsError] if it exists with another configuration
    def create(url, content_type: nil, context: default_context, **options)
      Stream.create(url, content_type: content_type, context: context, **options)
    end

    # Appends one message.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param data [Object] as {Stream#append} takes it
    # @param seq [String, nil] as {Stream#append} takes it
    # @param context [Context]
    # @param options [Hash] what else {Stream#initialize} takes; a content_type spares a request
    # @return [AppendResult]
    def append(url, data, seq: nil, context: default_context, **options)
      Stream.new(url, context: context, **options).append(data, seq: seq)
    end

    # Reads from a stream. The reader's `each` yields items on a JSON stream, {ByteChunk}s on others.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param offset [String, nil] as {Stream#read} takes it
    # @param live [Symbol, Boolean, nil] as {Stream#read} takes it
    # @param format [Symbol] :auto, :json or :bytes
    # @param cursor [String, nil] as {Stream#read} takes it
    # @param context [Context]
    # @param options [Hash] what else {Stream#initialize} takes; a content_type spares a request
    # @yieldparam reader [Reader] closed after the block
    # @return [JsonReader, ByteReader, Object] with a block, the block's value
    def read(url, offset: "-1", live: :off, format: :auto, cursor: nil, context: default_context, **options, &block)
      Stream.new(url, context: context, **options)
            .read(offset: offset, live: live, format: format || :auto, cursor: cursor, &block)
    end

    # @param content_type [String, nil]
    # @return [Boolean] whether messages of such a stream are JSON values: application/json, or anything ending in +json
    def json_content_type?(content_type)
      ContentType.json?(content_type)
    end

    # @param content_type [String, nil]
    # @return [Boolean] whether SSE carries such data as it is; all other data goes through it as base64
    def sse_compatible?(content_type)
      ContentType.plain_in_sse?(content_type)
    end

    # @param offset [#to_s, nil]
    # @return [String] the offset; "-1", the beginning, for nil and ""
    def normalize_offset(offset)
      offset.nil? || offset.to_s.empty? ? "-1" : offset.to_s
    end

    # The error that an answer with a status that is no success means, by this library's table of errors.
    #
    # A 403 is a {StaleEpochError} where the answer names the producer's epoch. A 409 is told by its headers: a closed
    # stream, a gap in a producer's numbers, a `Stream-Seq`; without any it is a {StreamExistsError}.
    # @param status [Integer]
    # @param url [#to_s, nil] of the stream
    # @param body [String, nil] of the answer; begins the message where it says more than the status
    # @param headers [Hash, nil] of the answer, names in any case
    # @param operation [#to_s, nil] what was being done, for the message
    # @return [DurableStreamError]
    def error_from_status(status, url: nil, body: nil, headers: nil, operation: nil)
      Status.error(status, url, body, headers, operation)
    end

    # What an answer says of the position that it leads to.
    # @param response [#[]] gives a header's value by its name in lower case: a Hash, a {Testing::MockResponse}, a
    #   Net::HTTPResponse
    # @param defaults [Hash] `next_offset:` and `cursor:` where the answer has none
    # @return [Hash{Symbol => Object}] `next_offset:` and `cursor:` (String or nil), `up_to_date:` (Boolean)
    def parse_stream_headers(response, defaults = {})
      { next_offset: response[STREAM_NEXT_OFFSET_HEADER] || defaults[:next_offset],
        cursor: response[STREAM_CURSOR_HEADER] || defaults[:cursor],
        up_to_date: response[STREAM_UP_TO_DATE_HEADER].to_s.casecmp?("true") }
    end

    private

    def in_trap_handler?
      Mutex.new.synchronize { false }
    rescue ThreadError
      true
    end

    # Makes the context at once: a lock to make it under later could not be had in a trap handler.
    def install(config)
      context = Context.new(config.freeze)
      # Nothing is called in between, so that no other thread gets its turn there.
      @default_context = context
      @configuration = config
    end
  end

  reset_configuration!
end
