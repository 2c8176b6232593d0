# frozen_string_literal: true

module DurableStreams
  # A handle for one stream: its URL, and the headers and parameters of its requests. Creating a handle sends nothing.
  # Any number of threads may share a handle; their appends can share requests (see `batching:`).
  class Stream
    ORIGIN = %r{\A[^:]+://[^/?#]*}
    BATCHING = [true, false, :shared_values].freeze
    CONTEXT = "a DurableStreams::Context (that of a client is client.context)"
    private_constant :ORIGIN, :BATCHING, :CONTEXT

    # @return [String] absolute URL
    attr_reader :url
    # @return [String, nil] MIME type; nil until it is given or a response names it
    attr_reader :content_type
    # @return [Context]
    attr_reader :context

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param content_type [String, Symbol, nil] see {#create}
    # @param context [Context]
    # @param headers [Hash] see {#initialize}
    # @param params [Hash] see {#initialize}
    # @param batching [Boolean, Symbol] see {#initialize}
    # @param exactly_once [Boolean, nil] see {#initialize}
    # @param options [Hash] further options of {#create}
    # @return [Stream] a handle for it
    # @raise [StreamExistsError] if the stream exists with another configuration
    def self.create(url, content_type: nil, context: DurableStreams.default_context, headers: {}, params: {},
                    batching: true, exactly_once: nil, **options)
      Options.refuse_unknown(options, method(:create), instance_method(:create))
      new(url, content_type: content_type, context: context, headers: headers, params: params, batching: batching,
               exactly_once: exactly_once)
        .create(**options)
    end

    # Returns a handle for an existing stream. Sends a HEAD request.
    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param options [Hash] see {#initialize}
    # @return [Stream] a handle that knows the content type
    # @raise [StreamNotFoundError] if the stream does not exist
    def self.connect(url, **options)
      stream = new(url, **options)
      stream.look_up(:connect)
      stream
    end

    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param options [Hash] see {#initialize}
    # @return [Boolean] whether the stream exists on the server
    def self.exists?(url, **options)
      new(url, **options).exists?
    end

    # @param content_type [String, Symbol] a MIME type, or :json, :bytes, :text
    # @return [String] the MIME type; any other value as a String
    def self.normalize_content_type(content_type)
      ContentType::NAMES.fetch(content_type) { content_type.to_s }
    end

    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param context [Context]
    # @param content_type [String, Symbol, nil] the stream's type: a MIME type, :json, :bytes or :text. If it is given,
    #   no HEAD request is needed to learn it
    # @param headers [Hash] added to the context's headers, or replacing them: name => String, or a value callable,
    #   which is called for every request, retries included; nil omits a header. The caller gets a callable's exception
    #   unchanged. If it is raised for a later try, an earlier one may have been carried out
    # @param params [Hash] query parameters; values as in headers, with callables as there
    # @param batching [Boolean, Symbol] whether appends of several threads share a request while another is in flight.
    #   true: they do, unless this handle or its context has value callables; :shared_values: they do in any case, and
    #   the callables run once, for the first append of the request; false: every append has its own request
    # @param exactly_once [Boolean, nil] whether appends, and {#close_stream} with data, carry the headers of an
    #   idempotent producer whose id is random. The server then stores an append once, however often it is sent, so a
    #   lost response or a 5xx does not fail it: it is sent again, until 120 seconds after the call, and as often as the
    #   retry_policy allows. If nobody has chosen a policy, the number has no limit after the handle's first success.
    #   It fails at the first failed try after that time; if it could not even be sent once, its outcome is known. The
    #   handle sends one request at a time, whatever `batching:` says; only a request of a value callable does not
    #   wait for others. Every handle has its own id, and servers remember ids for a while, so use one handle for many
    #   appends. nil: the context's setting
    # @raise [ArgumentError] if the URL or an option is invalid
    def initialize(url, context: DurableStreams.default_context, content_type: nil, headers: {}, params: {},
                   batching: true, exactly_once: nil, **unknown)
      Options.refuse_unknown(unknown, Stream.instance_method(:initialize))
      @context = Options.instance("context", context, Context, CONTEXT)
      @url = -context.resolve_url(url)
      @headers = RequestOptions.normalize(headers, "headers")
      @params = RequestOptions.normalize(params, "params")
      @batching = Options.one_of("batching", batching, BATCHING)
      @exactly_once = Options.boolean("exactly_once", exactly_once)
      @native = context.native_stream(@url, @headers, @params, exactly_once: @exactly_once)
      @json_encoder = context.config.chosen_json_encoder
      @json = nil
      learn(ContentType.normalize(content_type))
    end

    # Creates the stream on the server. Succeeds if it exists with the same configuration.
    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes or :text; nil: the handle's, or the
    #   configuration's `default_content_type`. A fork without a type has its source's
    # @param ttl_seconds [Integer, nil] lifetime in seconds; every access restarts it
    # @param expires_at [Time, String, nil] when it expires; a String in RFC 3339 format
    # @param body [Object, nil] the first message; see {#append}
    # @param closed [Boolean] whether to create it closed
    # @param forked_from [Stream, String, nil] source of a fork, on the same server; the new stream starts with its
    #   content
    # @param fork_offset [String, nil] offset in the source at which the fork begins; nil: its end
    # @param fork_sub_offset [Integer, nil] number of messages (JSON) or bytes to include after fork_offset
    # @return [Stream] self
    # @raise [StreamExistsError] if the stream exists with another configuration
    # @raise [StreamNotFoundError] if forked_from does not exist
    # @raise [FetchError] if the server does not know forks, and made a stream without the source's content. This shows
    #   by its offset. Without fork_offset, a request (HEAD) for the source finds out where it ends
    # @raise [ArgumentError] if an option is invalid, or both ttl_seconds and expires_at are given
    def create(content_type: nil, ttl_seconds: nil, expires_at: nil, body: nil, closed: false, forked_from: nil,
               fork_offset: nil, fork_sub_offset: nil, **unknown)
      Options.refuse_unknown(unknown, method(:create))
      type = ContentType.normalize(content_type) || @content_type
      type ||= ContentType.normalize(@context.config.default_content_type) unless forked_from
      expiry = Creation.expiry(ttl_seconds, expires_at)
      closed = Options.boolean("closed", closed) || false
      json = ContentType.json?(type)
      unless body.nil?
        raise ArgumentError, "body: of a fork requires content_type:" unless type

        body = Message.encode(body, json, type, @json_encoder)
      end
      fork = Creation.fork(forked_from, fork_offset, fork_sub_offset, @context)
      fork.update(Creation.known_of(source_of(forked_from, fork[:forked_from]), fork_offset))
      responded = @native.create(content_type: type, closed: closed, body: body, json: json, **expiry, **fork)
      learn(responded || type)
      self
    end
    alias create_stream create

    # Creates a stream that starts with this one's content, on the same server.
    # @param to [String, URI] URL of the new stream, absolute or a path
    # @param offset [String, nil] offset in this stream at which the fork begins; nil: its end
    # @param sub_offset [Integer, nil] number of messages (JSON) or bytes to include after offset
    # @param headers [Hash] see {#initialize}; nil: this handle's
    # @param params [Hash] see {#initialize}; nil: this handle's
    # @param options [Hash] further options of {#create}
    # @return [Stream] a handle for the fork
    # @raise [StreamNotFoundError] if this stream does not exist
    # @raise [FetchError] if the server does not know forks; see {#create}
    # @raise [StreamExistsError] if the new stream exists with another configuration
    def fork(to, offset: nil, sub_offset: nil, headers: nil, params: nil, **options)
      Stream.new(to, context: @context, headers: headers || @headers, params: params || @params, batching: @batching,
                     exactly_once: @exactly_once)
            .create(forked_from: self, fork_offset: offset, fork_sub_offset: sub_offset, **options)
    end

    # Appends one message.
    #
    # A JSON stream accepts a Hash, an Array (one message that is an array), a number, true, false, nil, an object with
    # its own to_json, or a String of JSON. With a `json_encoder` (see {Client#initialize}) it accepts any object. Other
    # streams accept Strings, sent byte for byte.
    #
    # Appends of several threads share a request while another is in flight; each call has its own result or error. If
    # headers or parameters have value callables, every append has its own request, and the callables run on its thread,
    # because a value may belong to that thread. See `batching:` of {#initialize}.
    #
    # If the response is lost, or is a 5xx, the request is sent again if it has a `seq` or if the handle has
    # `exactly_once: true`. Otherwise the append raises: see {DurableStreamError#outcome_unknown?}.
    # @param data [Object]
    # @param seq [String, nil] sequence value; must be above the stream's last one, compared bytewise
    # @return [AppendResult]
    # @raise [SeqConflictError] if seq is not above the stream's last one
    # @raise [StreamClosedError] if the stream is closed
    # @raise [StreamNotFoundError] if the stream does not exist
    # @raise [ParseError] if a String is not valid JSON, on a JSON stream
    # @raise [ArgumentError] if the stream does not accept such data
    def append(data = Options::OMITTED, seq: nil, **unknown)
      refuse_keywords(data, unknown) if data.equal?(Options::OMITTED) || !unknown.empty?
      return measure_append(data, seq) if Native.append_events?

      append_with(nil, data, seq)
    end
    alias append! append

    # Appends one message, as {#append} does.
    # @param data [Object]
    # @return [Stream] self
    def <<(data)
      append(data)
      self
    end

    # Closes the stream permanently: it accepts no more data, and its readers end.
    # @param data [Object, nil] a last message, stored in the same atomic step; see {#append}
    # @param content_type [String, Symbol, nil] type of data; nil: the stream's
    # @return [CloseResult] with `exactly_once`, its `final_offset` may be nil after a lost response
    # @raise [StreamClosedError] if data is given and the stream is already closed; without data that is a success
    # @raise [StreamNotFoundError] if the stream does not exist
    def close_stream(data: nil, content_type: nil)
      type = ContentType.normalize(content_type)
      return CloseResult.new(final_offset: @native.close_stream(nil, type || @content_type, false)) if data.nil?

      type ||= known_content_type(:close)
      json = ContentType.json?(type)
      data = Message.encode(data, json, type, @json_encoder)
      CloseResult.new(final_offset: @native.close_stream(data, type, json) || final_offset)
    end

    # Does nothing: connections belong to the {Client}, and the stream on the server remains open. Exists for code
    # written for the pure-Ruby client. {#close_stream} closes the stream.
    # @return [nil]
    # @raise [ArgumentError] if there are arguments: those belong to {#close_stream}
    def close(*arguments, **options)
      return if arguments.empty? && options.empty?

      raise ArgumentError, "close takes no arguments: it only releases the handle. To close the stream, " \
                           "call close_stream(data:, content_type:)"
    end

    # Deletes the stream on the server.
    # @return [nil]
    # @raise [StreamNotFoundError] if the stream does not exist
    def delete
      @native.delete
      nil
    end

    # Requests the stream's metadata (HEAD).
    # @return [HeadResult]
    # @raise [StreamNotFoundError] if the stream does not exist
    def head
      look_up(nil)
    end

    # @return [Boolean] whether the stream exists on the server (HEAD)
    def exists?
      head
      true
    rescue StreamNotFoundError
      false
    end

    # @return [Boolean] whether messages are JSON values; sends a HEAD request if the content type is not known
    def json?
      known_content_type(nil)
      @json
    end

    # Returns the headers that a request would have now: the context's and this handle's. Calls value callables on this
    # thread and omits nil values.
    # @param extra [Hash] headers that replace others, used unchanged
    # @return [Hash{String => Object}] names as they were given
    def resolved_headers(extra = {})
      headers = RequestOptions.merge_headers(@context.config.default_headers, @headers)
      headers.transform_values { |value| value.respond_to?(:call) ? value.call : value }.compact.merge(extra)
    end

    # @return [String] the URL's path below the context's base_url, as requests have it (percent-encoded). It begins
    #   without a slash. For a stream elsewhere: the whole path of its URL
    def path
      base = @context.config.base_url
      root = base && base[ORIGIN] == @url[ORIGIN] ? "#{Native.url_path(base).chomp("/")}/" : "/"
      path = Native.url_path(@url)
      path.start_with?(root) ? path.delete_prefix(root) : path.delete_prefix("/")
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(url)} content_type=#{content_type.inspect}>"
    end

    # Creates the native producer for a {Producer}.
    # @api private
    # @param settings [Hash] the extension's settings that this handle does not know
    # @return [Native::Producer]
    def native_producer(**settings)
      type = known_content_type(:produce)
      originals = Originals.new(@json_encoder)
      Native::Producer.new(@native, content_type: type, json: @json, originals: originals, **settings)
    end

    # Encodes data as {#append} does. The content type must be known.
    # @api private
    # @param data [Object]
    # @return [String]
    def encode(data)
      Message.encode(data, @json, @content_type, @json_encoder)
    end

    # Returns another handle for the same stream, with other headers and another content type.
    # @api private
    # @param content_type [String, nil] nil: this handle's
    # @param headers [Hash] added to this handle's, or replacing them
    # @return [Stream]
    def with(content_type: nil, headers: {})
      return self if content_type.nil? && (headers.nil? || headers.empty?)

      headers = RequestOptions.merge_headers(@headers, RequestOptions.normalize(headers, "headers"))
      stream = Stream.new(@url, context: @context, content_type: content_type, headers: headers, params: @params,
                                batching: @batching, exactly_once: @exactly_once)
      stream.learn(@content_type) unless content_type
      stream
    end

    # Whether requests run the application's code: value callables, a Ruby transport, or a callable `trusted_origins`.
    # @api private
    # @return [Boolean]
    def runs_application_code?
      @native.runs_application_code?
    end

    # Requests the stream's metadata (HEAD) and remembers its content type.
    # @api private
    # @param purpose [Symbol, nil] the operation that an error names: :connect or :fork; nil: head
    # @return [HeadResult]
    def look_up(purpose)
      head = @native.head(purpose)
      learn(head[:content_type])
      HeadResult.new(**head, expires_at: moment(head[:expires_at]))
    end

    # Requests (HEAD) where the stream ends, which this program has closed. A server need not say it in its response to
    # a repeated request.
    # @api private
    # @return [String, nil] nil if the request fails: that does not make the close a failure
    def final_offset
      head.next_offset
    rescue DurableStreamError
      nil
    end

    # Returns the content type; sends a HEAD request if it is not known.
    # @api private
    # @param purpose [Symbol, nil] the operation that an error names: :append, :close, :read or :produce; nil: head
    # @return [String]
    def known_content_type(purpose)
      learn(@native.head(purpose)[:content_type] || ContentType::FALLBACK) if @json.nil?
      @content_type
    end

    protected

    # Remembers the content type without checking it: a server's need not be a MIME type. @content_type is set first,
    # because threads that see @json set rely on it.
    def learn(content_type)
      return if content_type.nil?

      @content_type = -content_type
      @json = ContentType.json?(content_type)
    end

    private

    # In Ruby, a Hash without braces is keywords.
    def refuse_keywords(data, unknown)
      Options.refuse_unknown(unknown, method(:append)) unless data.equal?(Options::OMITTED)
      raise ArgumentError, "append requires data: append(data, seq: nil)" if unknown.empty?

      raise ArgumentError, "append takes data as its first argument: write a Hash in braces, " \
                           "append({ #{unknown.keys.first}: … })"
    end

    # @param details [Hash, nil] gets the event's `bytes` and `together`
    def append_with(details, data, seq)
      known_content_type(:append) if @json.nil?
      data = Message.encode(data, @json, @content_type, @json_encoder) unless data.is_a?(String)
      seq = Text.utf8(seq.to_s, "seq") unless seq.nil?
      details[:bytes] = data.bytesize if details
      AppendResult.of(*@native.append(data, @content_type, @json, seq, @batching, details))
    end

    # Appends, and publishes the event of that.
    def measure_append(data, seq)
      payload = { url: Redaction.url(@url), bytes: nil, next_offset: nil, together: nil }
      Events.measure("append.durable_streams", payload) do
        result = append_with(payload, data, seq)
        payload[:next_offset] = result.next_offset
        result
      end
    end

    # A handle for a fork's source, or nil. The source is on the fork's server.
    def source_of(source, path)
      return source if source.nil? || source.is_a?(Stream)

      Stream.new(@url[ORIGIN] + path, context: @context, headers: @headers, params: @params)
    end

    def moment(timestamp)
      return if timestamp.nil?

      date_and_time, fraction, zone = timestamp.match(Creation::TIMESTAMP)&.captures
      return Time.new(*date_and_time.scan(/\d+/), zone.upcase) + fraction.to_r if zone

      require "time" unless Time.respond_to?(:iso8601) # a Ractor may not be able to require
      Time.iso8601(timestamp)
    rescue ArgumentError
      url = Redaction.url(@url)
      raise ParseError.new("head #{url}: the server's Stream-Expires-At is not a time: #{timestamp.inspect}", url: url)
    end
  end
end

require_relative "stream/reading"
