# frozen_string_literal: true

module DurableStreams
  # A server (or several), how to talk to it, and the connections to it. One client serves any number of threads, and
  # goes on working after fork, in parent and child. Making one opens no connection.
  #
  # Requests go through the proxies of the environment, which is read at the client's first request in each process:
  # `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in upper case too, as curl takes them. A proxy that cannot
  # be used is a {ConnectionError} for the requests that need it.
  #
  # @example
  #   client = DurableStreams::Client.new(base_url: "https://streams.example.com",
  #                                       headers: { "Authorization" => -> { "Bearer #{fetch_token}" } })
  #   stream = client.stream("/my-stream")
  class Client
    # @return [Context] the client's settings
    attr_reader :context

    # Makes a client; with a block, closes it when the block ends, however it ends.
    # @param options [Hash] as {#initialize} takes them
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

    # @param base_url [String, URI, nil] what paths are joined to; a path in it is kept, and no `..` leads out of it
    # @param headers [Hash] headers of every request: name => String, or an object with `call` that is asked anew for
    #   every request that goes out, retries included, on a thread that waits for it and whose call ends with what is
    #   raised meanwhile (a producer's: on a thread of the library's); nil leaves the header out
    # @param params [Hash] query parameters of every request, values as in headers
    # @param timeout [Numeric] seconds of silence to give up after: connecting, waiting for the answer, between bytes of
    #   it. Does not bound a download that flows, nor a live read that the server holds open
    # @param retry_policy [RetryPolicy, nil] nil: {RetryPolicy.default}
    # @param live_timeout [Numeric] seconds without a byte after which a live read takes its connection for dead and
    #   makes another: nothing is missed, nothing raised. Notices what TCP's keep-alive cannot see
    # @param max_message_bytes [Integer] the largest JSON item, and the largest SSE event, that a read takes, and how
    #   much a server may send by SSE without saying where in the stream it is; beyond it is a {ParseError}
    # @param ca_file [String, Pathname, nil] file of certificates (PEM) to trust beside the system's
    # @param client_cert [String, Pathname, nil] file with a certificate (PEM, its issuers' after it) for servers that
    #   want one from clients. Read at the first request; what cannot be used is a {ConnectionError} then. A redirect to
    #   another origin does not show it there. An https proxy for https URLs is shown it too if it wants one
    # @param client_key [String, Pathname, nil] file with its private key (PEM, not encrypted); nil: the same file
    # @raise [ArgumentError] for values that cannot be meant, and for unknown keywords
    def initialize(base_url: nil, headers: {}, params: {}, timeout: Configuration::DEFAULT_TIMEOUT, retry_policy: nil,
                   live_timeout: Configuration::DEFAULT_LIVE_TIMEOUT,
                   max_message_bytes: Configuration::DEFAULT_MAX_MESSAGE_BYTES, ca_file: nil, client_cert: nil,
                   client_key: nil)
      @context = Context.new do |config|
        config.base_url = base_url
        config.default_headers = headers
        config.default_params = params
        config.timeout = timeout
        config.retry_policy = retry_policy if retry_policy
        config.live_timeout = live_timeout
        config.max_message_bytes = max_message_bytes
        config.ca_file = ca_file
        config.client_cert = client_cert
        config.client_key = client_key
      end
    end

    # A handle for a stream. No request is made.
    # @param url [String, URI] a path to join to base_url, or absolute: then on any server, which gets the client's
    #   headers and parameters
    # @param options [Hash] `content_type:`, `headers:`, `params:`, `batching:` as {Stream#initialize} takes them
    # @return [Stream]
    # @raise [ArgumentError] for a URL, header or keyword that cannot be used
    def stream(url, **options)
      Stream.new(url, context: @context, **options)
    end

    # A handle for a stream that is there: asks the server (HEAD).
    # @param url [String, URI] absolute, or a path to join to base_url
    # @param options [Hash] as for {#stream}
    # @return [Stream]
    # @raise [StreamNotFoundError] if it is not there
    def connect(url, **options)
      Stream.connect(url, context: @context, **options)
    end

    # Creates a stream on the server.
    # @param url [String, URI] absolute, or a path to join to base_url
    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes, :text; nil: see {Stream#create}
    # @param options [Hash] as {Stream.create} takes them
    # @return [Stream]
    # @raise [StreamExistsError] if it exists with another configuration
    def create(url, content_type: nil, **options)
      Stream.create(url, content_type: content_type, context: @context, **options)
    end

    # Drops idle connections. Requests raise {ClosedError} from then on; those that are out come to their end, which for
    # server-sent events is when the server ends them, or the reader is closed. Closing twice is fine.
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
