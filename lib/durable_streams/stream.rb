# frozen_string_literal: true

module DurableStreams
  # A handle for one stream: a URL, and how to talk to it. Making one sends nothing. May be used from any number of
  # threads; their appends through one handle share a request while another is out (see `batching:`).
  class Stream
    # A moment as RFC 3339 has it: up to the second, the rest of it, the offset.
    TIMESTAMP = /\A(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\z/i
    private_constant :TIMESTAMP

    # @return [String] absolute URL
    attr_reader :url
    # @return [String, nil] MIME type; nil as long as nobody said it and no answer brought it
    attr_reader :content_type
    # @return [Context]
    attr_reader :context

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param content_type [String, Symbol, nil] as {#create} takes it
    # @param context [Context]
    # @param headers [Hash] as {#initialize} takes them
    # @param params [Hash] as {#initialize} takes them
    # @param batching [Boolean, Symbol] as {#initialize} takes it
    # @param options [Hash] what else {#create} takes
    # @return [Stream] a handle for it
    # @raise [StreamExistsError] if it exists with another configuration
    def self.create(url, content_type: nil, context: DurableStreams.default_context, headers: {}, params: {},
                    batching: true, **options)
      new(url, content_type: content_type, context: context, headers: headers, params: params, batching: batching)
        .create(**options)
    end

    # A handle for a stream that is there: asks the server (HEAD).
    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param options [Hash] as {#initialize} takes them
    # @return [Stream] knows its content type
    # @raise [StreamNotFoundError] if it is not there
    def self.connect(url, **options)
      stream = new(url, **options)
      stream.look_up(:connect)
      stream
    end

    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param options [Hash] as {#initialize} takes them
    # @return [Boolean] whether the server has such a stream
    def self.exists?(url, **options)
      new(url, **options).exists?
    end

    # @param content_type [String, Symbol] a MIME type, or :json, :bytes, :text
    # @return [String] the MIME type; what is no name of one is given back as text
    def self.normalize_content_type(content_type)
      ContentType::NAMES.fetch(content_type) { content_type.to_s }
    end

    # @param url [String, URI] absolute, or a path to join to the context's base_url
    # @param context [Context]
    # @param content_type [String, Symbol, nil] the stream's type, which spares the request that asks for it: a MIME
    #   type, :json, :bytes or :text
    # @param headers [Hash] headers beside (and instead of) the context's: name => String, or an object with `call`
    #   that is asked anew for every request; nil leaves one out
    # @param params [Hash] query parameters, values as in headers
    # @param batching [Boolean, Symbol] true: appends of several threads share a request while another is out, unless
    #   headers or params, here or in the context, have callables; :shared_values: they do so then too, with the values
    #   that the callables return for the first append of the request; false: every append has a request of its own
    # @raise [ArgumentError] for a URL, type, name, value or batching that cannot be used
    def initialize(url, context: DurableStreams.default_context, content_type: nil, headers: {}, params: {},
                   batching: true)
      @context = context
      @url = -context.resolve_url(url)
      @headers = RequestOptions.normalize(headers, "headers")
      @params = RequestOptions.normalize(params, "params")
      @batching = RequestOptions.batching(batching)
      @native = context.native_stream(@url, @headers, @params)
      @json = nil
      learn(ContentType.normalize(content_type))
    end

    # Creates the stream on the server. If it is there with the same configuration, that is a success too.
    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes or :text; nil: the handle's, else the
    #   configuration's `default_content_type`; a fork without one has its source's
    # @param ttl_seconds [Integer, nil] lifetime in seconds, counted anew from every access
    # @param expires_at [Time, String, nil] when it expires; a String as RFC 3339 has it
    # @param body [Object, nil] the first message, as {#append} takes it
    # @param closed [Boolean] whether it is closed from the beginning
    # @param forked_from [Stream, String, nil] a stream on the same server whose content this one starts with
    # @param fork_offset [String, nil] where in the source the fork begins, as the server gave it; nil: at its end
    # @param fork_sub_offset [Integer, nil] how many messages (JSON) or bytes after fork_offset
    # @return [Stream] self
    # @raise [StreamExistsError] if it exists with another configuration
    # @raise [StreamNotFoundError] if forked_from does not exist
    # @raise [ArgumentError] for values that cannot be used, and for both expiries at once
    def create(content_type: nil, ttl_seconds: nil, expires_at: nil, body: nil, closed: false, forked_from: nil,
               fork_offset: nil, fork_sub_offset: nil)
      type = ContentType.normalize(content_type) || @content_type
      type ||= ContentType.normalize(@context.config.default_content_type) unless forked_from
      expiry = Creation.expiry(ttl_seconds, expires_at)
      json = ContentType.json?(type)
      unless body.nil?
        raise ArgumentError, "body needs a content_type" unless type

        body = Message.encode(body, json, type)
      end
      fork = Creation.fork(forked_from, fork_offset, fork_sub_offset, @context)
      answered = @native.create(content_type: type, closed: closed ? true : false, body: body, json: json,
                                **expiry, **fork)
      learn(answered || type)
      self
    end
    alias create_stream create

    # Creates a stream that starts with this one's content, on the same server.
    # @param to [String, URI] URL of the new stream, absolute or a path
    # @param offset [String, nil] where in this stream the fork begins, as the server gave it; nil: at its end
    # @param sub_offset [Integer, nil] how many messages (JSON) or bytes after offset
    # @param headers [Hash] as {#initialize} takes them; nil: this handle's
    # @param params [Hash] as {#initialize} takes them; nil: this handle's
    # @param options [Hash] what else {#create} takes
    # @return [Stream] a handle for the fork
    # @raise [StreamNotFoundError] if this stream does not exist
    # @raise [StreamExistsError] if the other exists with another configuration
    def fork(to, offset: nil, sub_offset: nil, headers: nil, params: nil, **options)
      Stream.new(to, context: @context, headers: headers || @headers, params: params || @params, batching: @batching)
            .create(forked_from: self, fork_offset: offset, fork_sub_offset: sub_offset, **options)
    end

    # Appends one message.
    #
    # A JSON stream takes a Hash, an Array (one message that is an array), a number, true, false, nil, an object with
    # its own to_json, or a String, which is JSON already. Other streams take Strings, sent byte for byte.
    #
    # Appends of several threads share a request while another is out; each gets its own result or error. Where headers
    # or parameters have callables, every append has a request of its own, and the callables are called on its thread:
    # a value may belong to that thread. See `batching:` of {#initialize}.
    #
    # A request whose answer was lost is not repeated, unless it has a `seq`: see {DurableStreamError#outcome_unknown?}.
    # @param data [Object]
    # @param seq [String, nil] must be above the last one of the stream, byte by byte, or {SeqConflictError} is raised
    # @return [AppendResult]
    # @raise [StreamClosedError] if the stream is closed
    # @raise [StreamNotFoundError] if it does not exist
    # @raise [ParseError] if a String is not valid JSON, on a JSON stream
    # @raise [ArgumentError] if the stream does not take such data
    def append(data, seq: nil)
      known_content_type(:append) if @json.nil?
      data = Message.encode(data, @json, @content_type) unless data.is_a?(String)
      seq = Text.utf8(seq.to_s, "seq") unless seq.nil?
      AppendResult.of(@native.append(data, @content_type, @json, seq, @batching))
    end
    alias append! append

    # Appends one message, as {#append} does.
    # @param data [Object]
    # @return [Stream] self
    def <<(data)
      append(data)
      self
    end

    # Closes the stream for good: it takes no more data, and its readers end. Cannot be undone.
    # @param data [Object, nil] a last message, as {#append} takes it, in the same atomic step
    # @param content_type [String, Symbol, nil] type of data; nil: the stream's
    # @return [CloseResult]
    # @raise [StreamClosedError] if there is data and the stream is closed already; without data that is a success
    # @raise [StreamNotFoundError] if the stream does not exist
    def close_stream(data: nil, content_type: nil)
      type = ContentType.normalize(content_type)
      return CloseResult.new(final_offset: @native.close_stream(nil, type || @content_type, false)) if data.nil?

      type ||= known_content_type(:close)
      json = ContentType.json?(type)
      data = Message.encode(data, json, type)
      CloseResult.new(final_offset: @native.close_stream(data, type, json))
    end

    # Lets go of the handle. The stream on the server stays as it is, and connections belong to the {Client}, so there
    # is nothing left to do: this is for code written for the pure-Ruby client. What closes the stream is
    # {#close_stream}.
    # @return [nil]
    # @raise [ArgumentError] if given anything, as then close_stream is meant
    def close(*arguments, **options)
      return if arguments.empty? && options.empty?

      raise ArgumentError, "close takes no arguments: it only releases the handle. To close the stream, " \
                           "call close_stream(data:, content_type:)"
    end

    # Deletes the stream on the server.
    # @return [nil]
    # @raise [StreamNotFoundError] if it does not exist
    def delete
      @native.delete
      nil
    end

    # Asks the server about the stream (HEAD).
    # @return [HeadResult]
    # @raise [StreamNotFoundError] if it does not exist
    def head
      look_up(nil)
    end

    # @return [Boolean] whether the server has the stream (HEAD)
    def exists?
      head
      true
    rescue StreamNotFoundError
      false
    end

    # @return [Boolean] whether messages are JSON values; asks the server once (HEAD) where the type is not known
    def json?
      known_content_type(nil)
      @json
    end

    # Reads from a position on. The reader is an Enumerable; nothing is sent before it is used, but a HEAD where the
    # content type is not known.
    #
    # Its `each` yields {JsonBatch}es or {ByteChunk}s. With `format:` (or `each_yields = :items` in the configuration)
    # it yields items on a JSON stream, as the pure-Ruby client does; `each_batch` and `each_item` are always there.
    # @param offset [String, nil] a position from the server, "-1" (also nil, ""): the beginning, or "now"
    # @param live [Symbol, Boolean, nil] what to do at the end of the data: :off (false, nil) ends, :long_poll and :sse
    #   wait for more, :auto (true) waits by SSE where the content type allows it, else by long-poll
    # @param format [Symbol, nil] :auto, :json or :bytes
    # @param cursor [String, nil] a cursor from an earlier read
    # @yieldparam reader [Reader] closed after the block
    # @return [JsonReader, ByteReader, Object] with a block, the block's value
    # @raise [ArgumentError] for an offset, mode, format or cursor that cannot be meant
    def read(offset: "-1", live: :off, format: nil, cursor: nil, &block)
      start = ReadOptions.normalize(offset, live, cursor)
      unit = format ? :items : @context.config.each_yields
      reader = if ReadOptions.json?(format) { known_content_type(:read) && @json }
                 JsonReader.new(self, **start, each_yields: unit)
               else
                 ByteReader.new(self, **start)
               end
      block ? reader.use(&block) : reader
    end

    # Reads JSON items from a position on: `each` yields items, as they arrive.
    # @param offset [String, nil] as for {#read}
    # @param live [Symbol, Boolean, nil] as for {#read}
    # @param cursor [String, nil] as for {#read}
    # @yieldparam reader [JsonReader] closed after the block
    # @return [JsonReader, Object] with a block, the block's value
    # @raise [ArgumentError] as for {#read}
    def read_json(offset: "-1", live: :off, cursor: nil, &block)
      reader = JsonReader.new(self, offset: offset, live: live, cursor: cursor, each_yields: :items)
      block ? reader.use(&block) : reader
    end

    # Reads bytes from a position on: `each` yields {ByteChunk}s, on a JSON stream too (JSON arrays, as the server
    # writes them; at the end of the stream, an empty one).
    # @param offset [String, nil] as for {#read}
    # @param live [Symbol, Boolean, nil] as for {#read}
    # @param cursor [String, nil] as for {#read}
    # @yieldparam reader [ByteReader] closed after the block
    # @return [ByteReader, Object] with a block, the block's value
    # @raise [ArgumentError] as for {#read}
    def read_bytes(offset: "-1", live: :off, cursor: nil, &block)
      reader = ByteReader.new(self, **ReadOptions.normalize(offset, live, cursor))
      block ? reader.use(&block) : reader
    end

    # Reads all there is now.
    # @param offset [String, nil] as for {#read}
    # @return [Array] items; on streams that are not JSON, {ByteChunk}s
    def read_all(offset: "-1")
      read(offset: offset, format: :auto, &:to_a)
    end

    # Reads all there is now, one by one.
    # @yieldparam item [Object] an item; on streams that are not JSON, a {ByteChunk}
    # @return [Stream, Enumerator] self; without a block, an Enumerator
    def each(&block)
      return enum_for(:each) unless block

      read(format: :auto) { |reader| reader.each(&block) }
      self
    end

    # The context's headers and this handle's, as a request that was made now would have them: callables are called, on
    # this thread, and what they give as nil is left out.
    # @param extra [Hash] headers that replace those, as they are
    # @return [Hash{String => Object}] names as they were given
    def resolved_headers(extra = {})
      headers = RequestOptions.merge_headers(@context.config.default_headers, @headers)
      headers.transform_values { |value| value.respond_to?(:call) ? value.call : value }.compact.merge(extra)
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(url)} content_type=#{content_type.inspect}>"
    end

    # Starts a read in the extension, for a {Reader}.
    # @api private
    # @param format [Symbol] :json, :bytes or :text
    # @param live [Symbol] :off, :long_poll, :sse or :auto
    # @param offset [String]
    # @param cursor [String, nil]
    # @return [Native::Reader]
    def native_reader(format, live, offset, cursor)
      Native::Reader.new(@native, format: format, live: live, offset: offset, cursor: cursor)
    end

    # Starts a producer in the extension, for a {Producer}.
    # @api private
    # @param settings [Hash] as the extension takes them, but for what the stream knows
    # @return [Native::Producer]
    def native_producer(**settings)
      type = known_content_type(:produce)
      Native::Producer.new(@native, content_type: type, json: @json, **settings)
    end

    # Another handle for the same stream, with headers and a content type of its own.
    # @api private
    # @param content_type [String, nil] nil: this handle's
    # @param headers [Hash] beside (and instead of) this handle's
    # @return [Stream]
    def with(content_type: nil, headers: {})
      return self if content_type.nil? && (headers.nil? || headers.empty?)

      headers = RequestOptions.merge_headers(@headers, RequestOptions.normalize(headers, "headers"))
      stream = Stream.new(@url, context: @context, content_type: content_type, headers: headers, params: @params,
                                batching: @batching)
      stream.learn(@content_type) unless content_type
      stream
    end

    # Whether requests ask callables for values.
    # @api private
    # @return [Boolean]
    def value_callables?
      @native.value_callables?
    end

    # Asks the server about the stream.
    # @api private
    # @param purpose [Symbol, nil] what for, which an error names: :connect; nil: for itself
    # @return [HeadResult]
    def look_up(purpose)
      head = @native.head(purpose)
      learn(head[:content_type])
      HeadResult.new(**head, expires_at: moment(head[:expires_at]))
    end

    # The content type, asked for (HEAD) if nobody said it yet.
    # @api private
    # @param purpose [Symbol, nil] what for, which an error names: :append, :close, :read or :produce; nil: for itself
    # @return [String]
    def known_content_type(purpose)
      learn(@native.head(purpose)[:content_type] || ContentType::FALLBACK) if @json.nil?
      @content_type
    end

    protected

    # Takes a content type for the stream's, as it is: what a server says need not be a MIME type.
    # The type goes first: threads that see @json set must find a type beside it.
    def learn(content_type)
      return if content_type.nil?

      @content_type = -content_type
      @json = ContentType.json?(content_type)
    end

    private

    def moment(timestamp)
      return if timestamp.nil?

      date_and_time, fraction, zone = timestamp.match(TIMESTAMP)&.captures
      return Time.new(*date_and_time.scan(/\d+/), zone.upcase) + fraction.to_r if zone

      require "time" unless Time.respond_to?(:iso8601) # where a Ractor may not require
      Time.iso8601(timestamp)
    rescue ArgumentError
      url = Redaction.url(@url)
      raise ParseError.new("head #{url}: Stream-Expires-At is not a time: #{timestamp.inspect}", url: url)
    end
  end
end
