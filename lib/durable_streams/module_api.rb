# frozen_string_literal: true

# Durable Streams: append-only streams at a URL that readers can read from any position and follow live.
#
# The module's methods share one process-wide configuration. Use a {Client} for several configurations, or to control
# when connections close.
module DurableStreams
  ONLY_IN_MAIN_RACTOR = "the settings of DurableStreams belong to the main Ractor: make a DurableStreams::Client here"
  private_constant :ONLY_IN_MAIN_RACTOR

  class << self
    # The logger for problems that no caller can rescue. By default it logs warnings and errors to standard error; under
    # Rails it is Rails.logger.
    # @return [Logger, nil]
    def logger
      return @logger if defined?(@logger)

      @default_logger&.call || (@standard_error ||= Logger.new($stderr, level: Logger::WARN))
    end

    # @param logger [Logger, nil] an object with Logger's methods; nil: log nothing
    # @raise [ArgumentError] if it has no `warn`, `info` or `error`
    def logger=(logger)
      unless logger.nil? || %i[warn info error].all? { |severity| logger.respond_to?(severity) }
        raise ArgumentError, "logger must be a Logger or nil, got #{Options.class_of(logger)}"
      end

      @logger = logger
    end

    # @param value [#call] returns what {logger} is until another one is set; nil if there is none yet
    # @api private
    attr_writer :default_logger

    # Logs a problem that no caller can rescue. Outside the main Ractor, which owns the logger, it calls Kernel#warn.
    # If the logger raises, it does so too: the exception must not replace the result of the caller's operation.
    # @param severity [Symbol] the logger's method
    # @param message [String]
    # @return [nil]
    # @api private
    def report(severity, message)
      return warn_about(message) unless Ractor.current == Ractor.main

      begin
        logger&.public_send(severity, message)
      rescue StandardError => e
        warn_about("#{message} (the logger raised #{e.class}: #{e.message})")
      end
      nil
    end

    # Logs the lines of the extension's threads. In a trap handler, where loggers cannot lock, it leaves them for the
    # next call.
    # @return [nil]
    # @api private
    def write_log
      return if in_trap_handler?

      while (severity, text = Native.next_log_line)
        report(severity, "durable_streams: #{text}")
      end
    end

    # Calls the block for each event: an HTTP request ended, an append failed, a live read lost its connection …
    # {file:docs/observability.md} lists the events and their payloads.
    #
    # The block runs on the thread whose call the event belongs to, before the call returns or raises: it delays that
    # call. Events of producers, and of calls that were interrupted, run on the callback thread. What the block raises
    # is logged and changes no result. Calls of this library that the block makes have no events.
    #
    # @example
    #   DurableStreams.subscribe("append.durable_streams") do |event|
    #     puts "#{event.payload[:bytes]} bytes in #{event.duration} s" unless event.error
    #   end
    # @param name [String, Regexp, nil] of the events, such as "request.durable_streams"; nil: all
    # @yieldparam event [Event]
    # @return [EventSubscription] its `unsubscribe` ends it
    # @raise [ArgumentError] if there are no events of that name, or there is no block
    # @raise [Ractor::IsolationError] outside the main Ractor
    def subscribe(name = nil, &block)
      Events.subscribe(name, &block)
    end

    # @return [Configuration] the process-wide configuration, frozen; {configure} replaces it
    attr_reader :configuration

    # Changes the process-wide configuration. Existing streams keep the one they were created with.
    #
    # @example
    #   DurableStreams.configure do |config|
    #     config.base_url = ENV["DURABLE_STREAMS_URL"]
    #     config.default_headers = { "Authorization" => -> { "Bearer #{token}" } }
    #   end
    # @yieldparam config [Configuration] a copy of the current configuration; frozen after the block
    # @return [Configuration]
    # @raise [ArgumentError] if a setting is invalid; nothing is changed then
    # @raise [Ractor::IsolationError] outside the main Ractor
    def configure
      raise ArgumentError, "configure requires a block: configure { |config| config.timeout = 10 }" unless block_given?

      config = configuration.dup
      yield config
      install(config)
    end

    # Restores the default configuration.
    # @return [Configuration]
    def reset_configuration!
      install(Configuration.new)
    end

    # Creates a context with its own connection pool, based on the process-wide configuration.
    # @yieldparam config [Configuration] a copy to change
    # @return [Context]
    # @raise [ArgumentError] if a setting is invalid
    def new_context(&block)
      Context.new(configuration, &block)
    end

    # @return [Context] the context of the process-wide configuration
    # @raise [Ractor::IsolationError] outside the main Ractor
    def default_context
      @default_context
    rescue Ractor::IsolationError
      raise Ractor::IsolationError, ONLY_IN_MAIN_RACTOR
    end

    # Returns a handle for a stream. Sends no request.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param context [Context]
    # @param options [Hash] further options of {Stream#initialize}
    # @return [Stream]
    def stream(url, context: default_context, **options)
      Stream.new(url, context: context, **options)
    end

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param content_type [String, Symbol, nil] see {Stream#create}
    # @param context [Context]
    # @param options [Hash] further options of {Stream.create}
    # @return [Stream]
    # @raise [StreamExistsError] if the stream exists with another configuration
    def create(url, content_type: nil, context: default_context, **options)
      Stream.create(url, content_type: content_type, context: context, **options)
    end

    # Appends one message. Every call makes a new handle. With `exactly_once`, each handle has a producer id of its own,
    # which servers remember for a while. So use one {Stream} for many appends.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param data [Object] see {Stream#append}
    # @param seq [String, nil] see {Stream#append}
    # @param context [Context]
    # @param options [Hash] further options of {Stream#initialize}; `content_type:` saves a request
    # @return [AppendResult]
    def append(url, data, seq: nil, context: default_context, **options)
      Options.refuse_unknown(options, method(:append), Stream.instance_method(:initialize))
      Stream.new(url, context: context, **options).append(data, seq: seq)
    end

    # Returns a reader of a stream. Its `each` yields items on a JSON stream and {ByteChunk}s on other streams.
    # @param url [String, URI] absolute, or a path to join to the base_url
    # @param offset [String, nil] see {Stream#read}
    # @param live [Symbol, Boolean, nil] see {Stream#read}
    # @param format [Symbol] :auto, :json or :bytes
    # @param cursor [String, nil] see {Stream#read}
    # @param retry_policy [RetryPolicy, nil] see {Stream#read}
    # @param context [Context]
    # @param options [Hash] further options of {Stream#initialize}; `content_type:` saves a request
    # @yieldparam reader [Reader] closed after the block
    # @return [JsonReader, ByteReader, Object] with a block, the block's value
    def read(url, offset: "-1", live: :off, format: :auto, cursor: nil, retry_policy: nil, context: default_context,
             **options, &block)
      Options.refuse_unknown(options, method(:read), Stream.instance_method(:initialize))
      stream = Stream.new(url, context: context, **options)
      stream.read(offset: offset, live: live, format: format || :auto, cursor: cursor, retry_policy: retry_policy,
                  &block)
    end

    # @param content_type [String, nil]
    # @return [Boolean] whether such streams contain JSON values: application/json, or a type that ends in +json
    def json_content_type?(content_type)
      ContentType.json?(content_type)
    end

    # @param content_type [String, nil]
    # @return [Boolean] whether SSE carries such data unencoded; it carries other data as base64
    def sse_compatible?(content_type)
      ContentType.plain_in_sse?(content_type)
    end

    # @param offset [#to_s, nil]
    # @return [String] the offset; "-1", the beginning, if it is nil or empty
    def normalize_offset(offset)
      offset.nil? || offset.to_s.empty? ? "-1" : offset.to_s
    end

    # Returns the error that this library raises for a response with an error status.
    #
    # A 403 whose headers name a producer epoch is a {StaleEpochError}. The headers of a 409 identify a closed stream,
    # a sequence gap and a `Stream-Seq` conflict; without them it is a {StreamExistsError}.
    # @param status [Integer]
    # @param url [#to_s, nil] URL of the stream
    # @param body [String, nil] body of the response; the message begins with it if it says more than the status
    # @param headers [Hash, nil] headers of the response, names in any case
    # @param operation [#to_s, nil] the operation that failed, for the message
    # @return [DurableStreamError]
    def error_from_status(status, url: nil, body: nil, headers: nil, operation: nil)
      Status.error(status, url, body, headers, operation)
    end

    # Extracts the position from a response's headers.
    # @param response [#[]] returns a header's value for its name in lower case: a Hash, a {Testing::MockResponse}, a
    #   Net::HTTPResponse
    # @param defaults [Hash] `next_offset:` and `cursor:` to use if the response has none
    # @return [Hash{Symbol => Object}] `next_offset:` and `cursor:` (String or nil), `up_to_date:` (Boolean)
    def parse_stream_headers(response, defaults = {})
      { next_offset: response[STREAM_NEXT_OFFSET_HEADER] || defaults[:next_offset],
        cursor: response[STREAM_CURSOR_HEADER] || defaults[:cursor],
        up_to_date: response[STREAM_UP_TO_DATE_HEADER].to_s.casecmp?("true") }
    end

    # @return [Boolean] whether the caller is in a trap handler, where nothing can lock
    # @api private
    def in_trap_handler?
      Mutex.new.synchronize { false }
    rescue ThreadError
      true
    end

    private

    # Writes to standard error, if that is possible.
    def warn_about(message)
      warn(message)
    rescue StandardError
      nil # $stderr may be closed, or an object of the application. No other place is left to write to.
    end

    # Creates the context now. Creating it on first use would need a lock, which a trap handler cannot take.
    def install(config)
      context = Context.new(config.freeze)
      # No method call in between: another thread cannot run there and see one without the other.
      @default_context = context
      @configuration = config
    rescue Ractor::IsolationError
      raise Ractor::IsolationError, ONLY_IN_MAIN_RACTOR
    end
  end

  @default_logger = nil
  reset_configuration!
end
