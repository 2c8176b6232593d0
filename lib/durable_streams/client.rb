# frozen_string_literal: true

module DurableStreams
  # Settings for one or more servers, and the connection pool for them. Any number of threads may share a client. It
  # works before and after `fork`, in parent and child. Creating a client opens no connection.
  #
  # Requests use the proxies of the environment, which each process reads at the client's first request: `http_proxy`,
  # `https_proxy`, `all_proxy` and `no_proxy`, in lower or upper case, as curl does. A proxy setting that is not usable
  # raises {ConnectionError} for the requests that need it.
  #
  # @example
  #   client = DurableStreams::Client.new(base_url: "https://streams.example.com",
  #                                       headers: { "Authorization" => -> { "Bearer #{fetch_token}" } })
  #   stream = client.stream("/my-stream")
  class Client
    # @return [Context] the client's settings
    attr_reader :context

    # Creates a client. With a block, closes the client when the block ends or raises.
    # @param options [Hash] see {#initialize}
    # @yieldparam client [Client]
    # @return [Object] the block's value; without a block, the client
    def self.open(**options)
      client = new(**options)
      return client unless block_given?

      begin
        yield client
      ensure
        client.close
      end
    end

    # An omitted option has the default below, whatever {DurableStreams.configure} has set. Only the retry policy is
    # then the configured one.
    #
    # @param base_url [String, URI, nil] the URL that stream paths are joined to. Its own path is a prefix that no `..`
    #   can leave
    # @param headers [Hash] headers of every request: name => String, or a value callable, which is called for every
    #   HTTP request, retries included. It runs on a thread that waits for the request, and its exception is raised
    #   there, unchanged. That does not say whether an earlier try of a write was carried out: if it matters, rescue
    #   inside the callable. (Producers call it on a callback thread, and fail.) nil omits the header
    # @param params [Hash] query parameters of every request; values as in headers, with callables as there
    # @param timeout [Numeric] seconds of silence before a request fails: while connecting, while waiting for the
    #   response, and between its bytes. It does not limit a download that makes progress, nor how long a
    #   live read waits for data
    # @param retry_policy [RetryPolicy, nil] nil: that of {DurableStreams.configure}. If none was chosen there either,
    #   {RetryPolicy.default} until the first success; then live reads, producers and appends with `exactly_once` are
    #   patient, as the {RetryPolicy} describes
    # @param live_timeout [Numeric] a live read reconnects from the last offset after this many seconds of silence.
    #   This detects dead connections that TCP keep-alive does not, and servers that hang: an SSE response is silent
    #   between events unless the server sends heartbeats
    # @param max_message_bytes [Integer] the largest JSON item or SSE event that a read accepts, and the most data that
    #   an SSE response may send without a control event. Beyond it, the read raises {ParseError}
    # @param trusted_origins [Array<String, URI>, #call, nil] other origins, such as `["https://node2:4437"]`, that
    #   receive headers, parameters and the client's certificate after a redirect; or a callable that takes an origin
    #   and returns whether to trust it. Untrusted origins receive none of these
    # @param exactly_once [Boolean, nil] whether the appends of {Stream}s are sent again after a lost response or a 5xx,
    #   and stored once all the same: see {Stream#initialize}. nil: false
    # @param proxy [String, URI, Symbol, nil] an http or https URL of the proxy for every request, which may have a user
    #   and a password; :environment: the one that `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` name, if any;
    #   nil: none
    # @param json_encoder [#call, nil] is called with what is appended to a JSON stream, unless that is a String, and
    #   returns its JSON as a String. nil: `JSON.method(:generate)`, which together with to_json is what
    #   {Stream#append} describes; under Rails `ActiveSupport::JSON.method(:encode)`
    # @param ca_file [String, Pathname, nil] PEM file of certificates to trust in addition to the system's
    # @param client_cert [String, Pathname, nil] PEM file with the client's certificate, then those of its issuers. The
    #   first request reads it and raises {ConnectionError} if it is not usable. After a redirect to another origin, it
    #   is presented only if trusted_origins includes that origin. An https proxy for https URLs receives it too if it
    #   requests one
    # @param client_key [String, Pathname, nil] PEM file with the certificate's private key, not encrypted; nil: the
    #   file of client_cert
    # @raise [ArgumentError] if an option is invalid or unknown
    def initialize(base_url: nil, headers: {}, params: {}, timeout: Configuration::DEFAULT_TIMEOUT, retry_policy: nil,
                   live_timeout: Configuration::DEFAULT_LIVE_TIMEOUT,
                   max_message_bytes: Configuration::DEFAULT_MAX_MESSAGE_BYTES, ca_file: nil, client_cert: nil,
                   client_key: nil, trusted_origins: nil, exactly_once: nil, proxy: :environment, json_encoder: nil,
                   **unknown)
      Options.refuse_unknown(unknown, Client.instance_method(:initialize))
      @context = Context.new do |config|
        config.base_url = base_url
        config.default_headers = headers
        config.default_params = params
        config.timeout = timeout
        config.retry_policy = retry_policy unless retry_policy.nil?
        config.live_timeout = live_timeout
        config.max_message_bytes = max_message_bytes
        config.ca_file = ca_file
        config.client_cert = client_cert
        config.client_key = client_key
        config.trusted_origins = trusted_origins
        config.exactly_once = exactly_once
        config.proxy = proxy
        config.json_encoder = json_encoder
      end
    end

    # Returns a handle for a stream. Sends no request.
    # @param url [String, URI] a path to join to base_url, or an absolute URL on any server. That server receives the
    #   client's headers and parameters
    # @param options [Hash] `content_type:`, `headers:`, `params:`, `batching:`, `exactly_once:`: see
    #   {Stream#initialize}
    # @return [Stream]
    # @raise [ArgumentError] if the URL, a header or an option is invalid
    def stream(url, **options)
      Stream.new(url, context: @context, **options)
    end

    # Returns a handle for an existing stream. Sends a HEAD request.
    # @param url [String, URI] absolute, or a path to join to base_url
    # @param options [Hash] see {#stream}
    # @return [Stream]
    # @raise [StreamNotFoundError] if the stream does not exist
    def connect(url, **options)
      Stream.connect(url, context: @context, **options)
    end

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to base_url
    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes, :text; nil: see {Stream#create}
    # @param options [Hash] see {Stream.create}
    # @return [Stream]
    # @raise [StreamExistsError] if the stream exists with another configuration
    def create(url, content_type: nil, **options)
      Stream.create(url, content_type: content_type, context: @context, **options)
    end

    # @return [Subscriptions] the subscriptions of the base_url's server
    def subscriptions
      Subscriptions.new(@context)
    end

    # Closes idle connections. Later requests raise {ClosedError}. Requests in flight continue until they complete; an
    # SSE read continues until the server ends the response or the reader is closed. A second call does nothing.
    # @return [nil]
    def close
      @context.close
    end

    # @return [Boolean] whether {#close} was called
    def closed?
      @context.closed?
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} base_url=#{Redaction.url(@context.config.base_url).inspect} closed=#{closed?}>"
    end
  end
end
