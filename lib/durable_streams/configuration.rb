# frozen_string_literal: true

module DurableStreams
  # The settings of clients and streams. Setters check their values. The configuration is deeply frozen when the block
  # of {DurableStreams.configure}, {DurableStreams.new_context} or {Context#initialize} ends.
  class Configuration
    # Seconds of silence after which a request fails.
    DEFAULT_TIMEOUT = 30

    # Seconds of silence after which a live read reconnects. Servers hold a live request open for about a minute.
    DEFAULT_LIVE_TIMEOUT = 120

    # The largest message that a read accepts, in bytes: 1 GiB.
    DEFAULT_MAX_MESSAGE_BYTES = 1 << 30

    # The largest size that fits a signed 32-bit integer, so that it is valid on every platform.
    LARGEST_SIZE = (1 << 31) - 1
    private_constant :LARGEST_SIZE

    # A base_url has this form. The extension checks its host and port.
    BASE_URL = %r{\Ahttps?://[^/?#\s]+[^?#\s]*\z}i
    # Ruby's FrozenError shows it.
    FROZEN = " (frozen: use DurableStreams.configure, or the options of Client.new)"
    private_constant :BASE_URL, :FROZEN

    # Values of {#each_yields}.
    EACH_YIELDS = %i[batches items].freeze

    # @return [String, nil] the URL that stream paths are joined to
    attr_reader :base_url
    # @return [String, Symbol, nil] content type of streams created without one; initially :json
    attr_reader :default_content_type
    # @return [Hash] headers of every request: name => String or value callable
    attr_reader :default_headers
    # @return [Hash] query parameters of every request: name => String or value callable
    attr_reader :default_params
    # @return [Numeric] seconds of silence (connecting, waiting for the response, between its bytes) before it fails
    attr_reader :timeout
    # @return [Numeric] seconds of silence after which a live read reconnects
    attr_reader :live_timeout
    # @return [Integer] the largest JSON item or SSE event that a read accepts, in bytes
    attr_reader :max_message_bytes
    # @return [RetryPolicy] {RetryPolicy.default} unless one was set
    attr_reader :retry_policy
    # @return [Boolean] whether appends carry the headers of an idempotent producer: see {Stream#initialize}
    attr_reader :exactly_once
    # @return [Symbol] what a reader's `each` yields if read is called without `format:`: :batches or :items
    attr_reader :each_yields
    # @return [#call, false, nil] what encodes data; false: `JSON.generate`; nil: nothing was chosen, so that
    #   {Message.default_encoder} counts
    # @api private
    attr_reader :chosen_json_encoder
    # @return [Array<String>, #call] other origins that receive headers and parameters after a redirect
    attr_reader :trusted_origins
    # @return [String, Symbol, nil] URL of the proxy for every request, :environment or nil
    attr_reader :proxy
    # @return [String, nil] PEM file of certificates to trust in addition to the system's
    attr_reader :ca_file
    # @return [String, nil] PEM file with the client's certificate
    attr_reader :client_cert
    # @return [String, nil] PEM file with the private key of client_cert; nil: the file of client_cert
    attr_reader :client_key

    def initialize
      @base_url = nil
      @default_content_type = :json
      @default_headers = {}
      @default_params = {}
      @timeout = DEFAULT_TIMEOUT
      @live_timeout = DEFAULT_LIVE_TIMEOUT
      @max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES
      @retry_policy = RetryPolicy.default
      @exactly_once = false
      @retry_policy_chosen = false
      @each_yields = :batches
      @chosen_json_encoder = nil
      @trusted_origins = [].freeze
      @proxy = :environment
      @ca_file = nil
      @client_cert = nil
      @client_key = nil
    end

    # @param url [String, URI, nil] an absolute http or https URL; its path is a prefix of the streams' paths
    # @raise [ArgumentError] if it is not such a URL
    def base_url=(url)
      url = Text.url(url, "base_url")
      refuse_base_url(url) unless url.nil? || (url.is_a?(String) && url.match?(BASE_URL))
      begin
        Native.url_path(url) if url
      rescue ArgumentError => e
        raise ArgumentError, "base_#{e.message}"
      end
      @base_url = url && -url
    end

    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes, :text; nil: the server's default
    # @raise [ArgumentError] if it is anything else
    def default_content_type=(content_type)
      ContentType.normalize(content_type)
      @default_content_type = content_type
    end

    # @param headers [Hash, nil] name => String or value callable
    # @raise [ArgumentError] if it is anything else
    def default_headers=(headers)
      RequestOptions.normalize(headers, "headers")
      @default_headers = headers.to_h.dup
    end

    # @param params [Hash, nil] name => String or value callable
    # @raise [ArgumentError] if it is anything else
    def default_params=(params)
      RequestOptions.normalize(params, "params")
      @default_params = params.to_h.dup
    end

    # @param seconds [Numeric] above 0
    # @raise [ArgumentError] if it is anything else
    def timeout=(seconds)
      @timeout = Options.positive("timeout", seconds)
    end

    # @param seconds [Numeric] above 0
    # @raise [ArgumentError] if it is anything else
    def live_timeout=(seconds)
      @live_timeout = Options.positive("live_timeout", seconds)
    end

    # @param bytes [Integer] above 0, below 2 ** 31
    # @raise [ArgumentError] if it is anything else
    def max_message_bytes=(bytes)
      @max_message_bytes = Options.integer("max_message_bytes", bytes, 1..LARGEST_SIZE)
    end

    # @param policy [RetryPolicy, nil] nil: {RetryPolicy.default}; the configuration stores a copy
    # @raise [ArgumentError] if it is anything else, or has an invalid value
    def retry_policy=(policy)
      RetryPolicy.to_native(policy)
      @retry_policy = (policy || RetryPolicy.default).dup
      @retry_policy_chosen = !policy.nil?
    end

    # @return [Boolean] whether nobody has chosen a retry policy. Then live reads, producers and appends with
    #   `exactly_once` retry for longer
    # @api private
    def patient?
      !@retry_policy_chosen && @retry_policy == RetryPolicy.default
    end

    # @param exactly_once [Boolean, nil] nil: false
    # @raise [ArgumentError] if it is anything else
    def exactly_once=(exactly_once)
      @exactly_once = Options.boolean("exactly_once", exactly_once) || false
    end

    # @param unit [Symbol] :batches, or :items for code written for the pure-Ruby client
    # @raise [ArgumentError] if it is anything else
    def each_yields=(unit)
      @each_yields = Options.one_of("each_yields", unit, EACH_YIELDS)
    end

    # @return [#call] what encodes a Hash, an Array or any other object that is not a String
    def json_encoder
      encoder = @chosen_json_encoder
      encoder = Message.default_encoder if encoder.nil?
      encoder || ::JSON.method(:generate)
    end

    # @param encoder [#call, nil] see {Client#initialize}; nil: `JSON.method(:generate)`, or under Rails
    #   `ActiveSupport::JSON.method(:encode)`
    # @raise [ArgumentError] if it does not respond to call
    def json_encoder=(encoder)
      Options.callable("json_encoder", encoder)
      @chosen_json_encoder = encoder == ::JSON.method(:generate) ? false : encoder
    end

    # @param origins [Array<String, URI>, #call, nil] such as `["https://node2:4437"]`; or a callable that takes an
    #   origin and returns whether to trust it
    # @raise [ArgumentError] if it is neither, or if an origin has a path, a query or credentials
    def trusted_origins=(origins)
      unless origins.nil? || origins.is_a?(Array) || origins.respond_to?(:call)
        raise ArgumentError, "trusted_origins must be an Array of origins, something that responds to call, or nil, " \
                             "got #{origins.class}"
      end

      origins = origins.to_a.map { |origin| trusted_origin(origin) }.freeze unless origins.respond_to?(:call)
      @trusted_origins = origins
    end

    # @param proxy [String, URI, Symbol, nil] an http or https URL, which may have a user and a password; :environment:
    #   the proxy that the environment names, if any; nil: none
    # @raise [ArgumentError] if it is anything else; a URL that cannot be used raises when the client is created
    def proxy=(proxy)
      proxy = Text.url(proxy, "proxy")
      unless proxy.nil? || proxy == :environment || (proxy.is_a?(String) && !proxy.empty?)
        Options.refuse("proxy", "a URL, :environment or nil", proxy)
      end

      @proxy = proxy.is_a?(String) ? -proxy : proxy
    end

    # @param path [String, Pathname, nil]
    # @raise [ArgumentError] if it is not the path of a readable file
    def ca_file=(path)
      @ca_file = readable_file("ca_file", path)
    end

    # @param path [String, Pathname, nil] PEM file: the certificate first, then those of its issuers
    # @raise [ArgumentError] if it is not the path of a readable file
    def client_cert=(path)
      @client_cert = readable_file("client_cert", path)
    end

    # @param path [String, Pathname, nil] PEM file with a key that is not encrypted
    # @raise [ArgumentError] if it is not the path of a readable file
    def client_key=(path)
      @client_key = readable_file("client_key", path)
    end

    # @return [Array(String, String), nil] the files of the client's certificate and its key
    # @raise [ArgumentError] if there is a key without a certificate
    # @api private
    def identity
      return [client_cert, client_key || client_cert] if client_cert
      raise ArgumentError, "client_key is set without client_cert: set client_cert too" if client_key
    end

    # Deeply freezes the settings. Callables, and objects passed by the caller, are not frozen.
    # @return [Configuration] self
    def freeze
      return self if frozen?

      @default_headers = RequestOptions.normalize(@default_headers, "headers")
      @default_params = RequestOptions.normalize(@default_params, "params")
      @retry_policy = @retry_policy.dup.freeze
      super
    end

    # Shows names of headers and parameters, never their values.
    # @return [String]
    def inspect
      "#<#{self.class} base_url=#{Redaction.url(base_url).inspect} timeout=#{timeout} " \
        "headers=#{default_headers.keys} params=#{default_params.keys} each_yields=#{each_yields.inspect}" \
        "#{FROZEN if frozen?}>"
    end

    private

    def refuse_base_url(url)
      given = url.is_a?(String) ? "#{Redaction.url(url).inspect}: #{fault_of(url)}" : url.class
      raise ArgumentError, "base_url must be an http or https URL such as \"http://localhost:4437\", got #{given}"
    end

    def fault_of(url)
      case url
      when "" then "it is empty"
      when /\s/ then "remove its spaces and newlines"
      when /[?#]/ then "remove its query or fragment (query parameters belong in params)"
      when %r{\Ahttps?://}i then "it has no host"
      when %r{\A[a-z][a-z0-9+.-]*://}i then "its scheme is not http or https"
      else "it does not begin with http:// or https://"
      end
    end

    def trusted_origin(origin)
      origin = Text.url(origin, "trusted_origins")
      raise ArgumentError, "trusted_origins must contain Strings, got #{origin.class}" unless origin.is_a?(String)

      begin
        Native.origin(origin)
      rescue ArgumentError => e
        raise ArgumentError, "trusted_origins contains #{Redaction.url(origin).inspect}: #{e.message}"
      end
    end

    def readable_file(name, path)
      return if path.nil?
      unless path.is_a?(String) || path.respond_to?(:to_path)
        raise ArgumentError, "#{name} must be the path of a PEM file, got #{Options.class_of(path)}"
      end
      # A key must not appear in a message.
      raise ArgumentError, "#{name} must be the path of a PEM file, got its content" if File.path(path).include?("\n")
      raise ArgumentError, "#{name} #{path.to_s.inspect} is not a readable file" unless readable?(path)

      File.path(path).dup.freeze
    end

    def readable?(path)
      File.file?(path) && File.readable?(path)
    end

    def initialize_copy(other)
      super
      @default_headers = other.default_headers.dup
      @default_params = other.default_params.dup
      @retry_policy = other.retry_policy.dup
    end
  end
end
