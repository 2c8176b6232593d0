# frozen_string_literal: true

require "uri"

module DurableStreams
  module Testing
    # A transport with streams in memory. It responds as a server would, unless a rule ({#on}) says otherwise. A stream
    # is identified by the path of its URL. Where a method takes a path, it may leave out the path of the configured
    # base_url. Any number of threads may use it.
    #
    # Differences from a server: Unless {#strict} is set, streams need not be created. One that was never created reads
    # as an empty JSON stream, and the first append creates it; only metadata (`head`, `exists?`), forks and deletes
    # respond with 404. Streams do not expire. A live read's poll ends only when there is new data. There are no
    # subscriptions.
    class MockTransport
      # Headers of a stream's configuration. Creating it again must send the same.
      SETTINGS = [STREAM_TTL_HEADER, STREAM_EXPIRES_AT_HEADER, STREAM_FORKED_FROM_HEADER, STREAM_FORK_OFFSET_HEADER,
                  STREAM_FORK_SUB_OFFSET_HEADER].freeze
      # The response to requests about subscriptions.
      NO_SUBSCRIPTIONS = {
        status: 501, body: { error: { code: "NOT_SUPPORTED",
                                      message: "streams in memory have no subscriptions: use a real server" } }
      }.freeze
      private_constant :SETTINGS, :NO_SUBSCRIPTIONS

      def initialize
        @lock = Mutex.new
        @strict = false
        @requests = []
        @rules = []
        # Messages by path; tests may change this Hash.
        @streams = {}
        # The streams by path; they persist when a test replaces their messages.
        @states = {}
        @deleted = {}
        # The sources of forks, by the forks' paths.
        @sources = {}
        # The producers that wrote before the streams were cleared, by path.
        @producers = Hash.new { |producers, path| producers[path] = {} }
        @live_reads = Hash.new { |live_reads, path| live_reads[path] = [] }
      end

      # @return [Boolean] whether every request for a stream that was never created gets a 404
      attr_accessor :strict

      # The recorded requests, in order: `method` (a Symbol, such as :post), `url`, `path`, `query`, `headers` (names in
      # lower case; `[]` takes any case) and `body` (a String or nil). Not a copy: `requests.clear` clears the record.
      # @return [Array<Hash{Symbol => Object}>]
      attr_reader :requests

      # Messages by path, percent-encoded as in requests. Not a copy: changes take effect with the next request (a
      # waiting live read sees them with the next append). A stream that is added here is a JSON stream, unless one
      # existed at its path.
      # @return [Hash{String => Array}]
      attr_reader :streams

      # Adds a rule: how to respond to certain requests from now on. Later rules take precedence.
      #
      # A success response without the protocol's headers gets those of the stream in memory; nil omits one. A block
      # decides for each request, which it receives as in {#requests}. It returns a status, a Hash of `status:`, `body:`
      # and `headers:`, one of the faults below, or nil for the normal response. Its exceptions reach the caller of the
      # operation.
      #
      # @example A server that is overloaded twice
      #   transport.on(:post, "/events", status: 503, times: 2)
      # @example A lost connection
      #   transport.on(:post, "/events", error: :connection)
      # @param method [Symbol] :get, :head, :put, :post or :delete
      # @param path [String, Regexp] path of the URL; a Regexp is matched with the percent-encoded path
      # @param status [Integer, nil] status of the response
      # @param body [String, Object] body of the response; any other object than a String is sent as JSON
      # @param headers [Hash] headers of the response
      # @param error [Symbol, nil] :connection: lost after the request was sent; :refused: the request was not sent;
      #   :timeout: no response within the timeout (raised without waiting)
      # @param times [Integer, nil] number of requests that the rule applies to; nil: no limit
      # @yieldparam request [Hash]
      # @return [nil]
      # @raise [ArgumentError] unless exactly one of status, error and a block is given
      def on(method, path, status: nil, body: "", headers: {}, error: nil, times: nil, &block)
        response = status && MockResponse.new(status: status, body: body, headers: headers)
        path = MockPath.of(path) unless path.is_a?(Regexp)
        rule = MockRule.new(method, path, response: response, error: error, times: times, block: block)
        @lock.synchronize { @rules.unshift(rule) }
        nil
      end

      # Adds messages to a stream. Creates it if it does not exist.
      # @param path [String] the stream's path (or URL)
      # @param messages [Array] on a JSON stream values, which the configuration's `json_encoder` encodes; Strings on
      #   others
      # @param content_type [String, Symbol] of a created stream; see {Stream#create}
      # @return [Array] all messages of the stream
      # @raise [ArgumentError] if messages is no Array, or has anything but Strings on a stream that is not JSON
      def seed_stream(path, messages, content_type: :json)
        path = MockPath.of(path)
        Options.instance("messages", messages, Array, "an Array")
        @lock.synchronize do
          stream = stream_at(path) || MockStream.new(ContentType.normalize(content_type))
          stream.messages.concat(seeds(stream, messages))
          store(path, stream)
          changed(path)
          stream.messages.dup
        end
      end

      # @param path [String] the stream's path (or URL)
      # @return [Array] its messages: on a JSON stream as JSON.parse returns them, on others Strings; empty if there is
      #   no such stream
      def messages_for(path)
        path = MockPath.of(path)
        @lock.synchronize { @streams[path].to_a.dup }
      end

      # Deletes the streams, the recorded requests and the rules. Waiting reads end as for a deleted stream. {#strict}
      # remains. Producers, and handles with `exactly_once`, can continue: on a server they could not.
      # @return [nil]
      def clear!
        @lock.synchronize do
          @requests.clear
          @rules.clear
          @streams.clear
          @states.each { |path, stream| @producers[path].update(stream.producers.last) }.clear
          @deleted.clear
          @sources.clear
          @live_reads.each_value { |live_reads| live_reads.each(&:stream_deleted) }.clear
        end
        nil
      end

      # Deletes the rules of {#on}.
      # @api private
      # @return [nil]
      def clear_rules
        @lock.synchronize { @rules.clear }
        nil
      end

      # Responds to a request of the library. To a live read it may respond later, from any thread.
      # @api private
      # @param native [Native::Request]
      # @return [nil]
      def call(native)
        request = record(native.http_method, native.url, native.headers, native.body)
        case (result = result_of_rules(request))
        when Symbol then native.fail(result)
        when MockResponse then result.send_to(native)
        else @lock.synchronize { respond(request, native) }
        end
        nil
      end

      # Returns the response to a request, without waiting.
      # @param method [Symbol] :get, :head, :put, :post or :delete
      # @param url [String]
      # @param headers [Hash{String => String}]
      # @param body [String, nil]
      # @return [MockResponse]
      # @raise [ConnectionError, TimeoutError] if a rule says so
      def request(method, url, headers: {}, body: nil, **)
        request = record(method, url, headers.to_h { |name, value| [name.to_s.downcase, value.to_s] }, body)
        case (result = result_of_rules(request))
        when :timeout then raise TimeoutError.new("no response within the timeout", url: url)
        when Symbol then raise ConnectionError.new("the connection was lost", url: url)
        when MockResponse then result
        else @lock.synchronize { response_to(request, stream_for(request)) }
        end
      end

      # Yields the response to a request; see {#request}.
      # @yieldparam response [MockResponse]
      # @return [Object] the block's value
      def stream_request(method, url, headers: {}, **)
        response = request(method, url, headers: headers)
        block_given? ? yield(response) : response
      end

      # Does nothing: there are no connections.
      # @return [nil]
      def shutdown; end

      # @return [String]
      def inspect
        "#<#{self.class} #{@streams.size} streams, #{@requests.size} requests>"
      end

      private

      # @return [MockStream, nil] the stream whose messages are in {#streams}
      def stream_at(path)
        messages = @streams[path]
        return @states.delete(path) && nil unless messages

        stream = (@states[path] ||= empty)
        stream.messages = messages
        stream
      end

      # @param lookup [Boolean] whether the request only prepares for reading or writing
      # @return [MockStream, nil] the stream that responds to a request
      def stream_for(request, lookup: false)
        stream = stream_at(request[:path]) || implicit_stream(request, lookup)
        stream.producers.before = @producers[request[:path]] if stream && request[:method] == :post
        stream
      end

      # @return [MockStream, nil] the stream that responds if no stream was ever created at the path
      def implicit_stream(request, lookup)
        return if @strict || @deleted[request[:path]]

        case request[:method]
        when :get then empty
        when :head then empty if lookup
        when :post then fresh(request[:headers]["content-type"] || ContentType::NAMES[:json])
        end
      end

      def store(path, stream)
        @deleted.delete(path)
        @states[path] = stream
        @streams[path] = stream.messages
        stream
      end

      def empty
        MockStream.new(ContentType::NAMES[:json])
      end

      # @return [Array] the messages as the stream stores them
      def seeds(stream, messages)
        return JSON.parse(DurableStreams.configuration.json_encoder.call(messages)) if stream.json?

        messages.each do |message|
          next if message.is_a?(String)

          raise ArgumentError, "messages of a stream of #{stream.content_type} must be Strings, got #{message.class}"
        end
      end

      def record(method, url, headers, body)
        body = body.dup.force_encoding(Encoding::UTF_8) if body
        body.force_encoding(Encoding::BINARY) if body && !body.valid_encoding?
        query = URI.decode_www_form(url[/\?([^#]*)/, 1].to_s).to_h
        headers = Hash.new { |all, name| all.fetch(name.to_s.downcase, nil) }.update(headers)
        request = { method: method, url: url, path: MockPath.of(url), query: query, headers: headers, body: body }
        @lock.synchronize { @requests << request.freeze }
        request
      end

      # Returns the response or fault of the first rule that applies; nil if there is none.
      def result_of_rules(request)
        rule = @lock.synchronize { @rules.find { |candidate| candidate.use?(request) } }
        result = rule&.result(request)
        return result unless result.is_a?(MockResponse) && result.success?

        @lock.synchronize { result.with_defaults(defaults(request)) }
      end

      def defaults(request)
        stream = stream_at(request[:path])
        defaults = { STREAM_NEXT_OFFSET_HEADER => MockOffset.of(stream ? stream.size : 0) }
        defaults["content-type"] = stream ? stream.content_type : ContentType.normalize(:json)
        defaults[STREAM_UP_TO_DATE_HEADER] = "true" if request[:method] == :get
        defaults
      end

      # Responds now, or stores a live read until there is data for it.
      def respond(request, native)
        return MockResponse.new(**NO_SUBSCRIPTIONS).send_to(native) if request[:path].include?("/__ds/")

        stream = stream_for(request, lookup: native.lookup?)
        live = request[:query]["live"] if request[:method] == :get && stream
        from = MockOffset.parse(request[:query]["offset"], stream.size) if live
        live_read = case from && live
                    when "long-poll" then MockLongPoll.new(native, from)
                    when "sse" then MockEventStream.new(native, from, stream)
                    end
        return response_to(request, stream).send_to(native) unless live_read

        @live_reads[request[:path]] << live_read unless live_read.done?(stream)
      end

      # Returns the immediate response. Called under the lock.
      def response_to(request, stream)
        path = request[:path]
        return MockResponse.new(status: request[:method] == :put ? 409 : 410) if gone?(path)
        return create(path, request) if request[:method] == :put
        return MockResponse.new(status: 404) unless stream

        case request[:method]
        when :head then stream.describe(200)
        when :post then append(path, stream, request)
        when :get then read(stream, request[:query])
        when :delete then delete(path)
        else MockResponse.new(status: 405)
        end
      end

      def append(path, stream, request)
        response = stream.append(request[:headers], request[:body])
        return response unless response.success?

        store(path, stream)
        changed(path)
        response
      end

      def create(path, request)
        headers = request[:headers]
        type = headers["content-type"]
        settings = headers.slice(*SETTINGS)
        if settings.key?(STREAM_TTL_HEADER) && settings.key?(STREAM_EXPIRES_AT_HEADER)
          return MockResponse.new(status: 400, body: "Stream-TTL and Stream-Expires-At must not both be given")
        end

        closed = headers[STREAM_CLOSED_HEADER] == "true"
        existing = stream_at(path)
        return existing.describe(existing.configured_as?(type, settings, closed) ? 200 : 409) if existing

        source = headers[STREAM_FORKED_FROM_HEADER]&.then { |forked_from| MockPath.of(forked_from) }
        stream = source ? fork(source, headers, type, settings) : fresh(type, settings)
        return stream if stream.is_a?(MockResponse)

        rejection = stream.store_first(request[:body], closed)
        return rejection if rejection

        @sources.reject! { |_, other| other == path } # forks of an earlier stream
        @sources[path] = source
        store(path, stream)
        changed(path)
        stream.describe(201)
      end

      def fresh(type, settings = {})
        MockStream.new(type || ContentType::FALLBACK, settings: settings)
      end

      def fork(path, headers, type, settings)
        source = stream_at(path)
        return MockResponse.new(status: gone?(path) ? 409 : 404) unless source
        unless source.of_type?(type)
          return MockResponse.new(status: 409, body: "the source's content type is #{source.content_type}")
        end

        count = MockOffset.parse(headers.fetch(STREAM_FORK_OFFSET_HEADER, "now"), source.size)
        more = count && after_offset(source, count, headers[STREAM_FORK_SUB_OFFSET_HEADER].to_i)
        return MockResponse.new(status: 400, body: "no such offset") unless more

        fork = MockStream.new(type || source.content_type, settings: settings, source: source)
        fork.messages.concat(source.messages.first(count), more)
        fork
      end

      # @param more [Integer] number of messages (or bytes)
      # @return [Array, nil] the messages of a fork after its offset; nil if the source has fewer
      def after_offset(source, count, more)
        return [] if more.zero?
        return (source.messages[count, more] if count + more <= source.size) if source.json?

        bytes = source.content(count)
        [bytes.byteslice(0, more)] if more <= bytes.bytesize
      end

      # @return [Boolean] whether the stream was deleted, and has forks that exist, or are gone themselves
      def gone?(path)
        @deleted.key?(path) &&
          @sources.any? { |fork, source| source == path && (@streams.key?(fork) || gone?(fork)) }
      end

      def read(stream, query)
        from = MockOffset.parse(query["offset"], stream.size)
        return MockResponse.new(status: 400, body: "no such offset") unless from

        stream.read(from, status: query.key?("live") && stream.size <= from ? 204 : 200)
      end

      def delete(path)
        @streams.delete(path)
        @deleted[path] = true
        (@live_reads.delete(path) || []).each(&:stream_deleted)
        MockResponse.new(status: 204)
      end

      def changed(path)
        return unless @live_reads.key?(path)

        @live_reads[path].reject! { |live_read| live_read.done?(stream_at(path)) }
        @live_reads.delete(path) if @live_reads[path].empty?
      end
    end
  end
end
