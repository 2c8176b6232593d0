# frozen_string_literal: true

module DurableStreams
  # The settings that streams are made with. Values are checked when they are set; the configuration is frozen, all
  # through, when the block of {DurableStreams.configure}, {DurableStreams.new_context} or {Context#initialize} ends.
  class Configuration
    # Seconds of silence after which a request is given up.
    DEFAULT_TIMEOUT = 30

    # Seconds of silence after which a live read replaces its connection. Servers hold a request for about a minute.
    DEFAULT_LIVE_TIMEOUT = 120

    # Bytes of the largest message that a read takes: 1 GiB.
    DEFAULT_MAX_MESSAGE_BYTES = 1 << 30

    # What any machine can count to.
    LARGEST_SIZE = (1 << 31) - 1
    private_constant :LARGEST_SIZE

    # What a reader's `each` may yield where a call to read does not say.
    EACH_YIELDS = %i[batches items].freeze

    # @return [String, nil] what paths are joined to
    attr_reader :base_url
    # @return [String, Symbol, nil] the type of streams that are created without saying one; :json at first
    attr_reader :default_content_type
    # @return [Hash] headers of every request: name => String or object with `call`
    attr_reader :default_headers
    # @return [Hash] query parameters of every request: name => String or object with `call`
    attr_reader :default_params
    # @return [Numeric] seconds of silence (connecting, waiting for the answer, between its bytes) to give up after
    attr_reader :timeout
    # @return [Numeric] seconds without a byte after which a live read takes its connection for dead and replaces it
    attr_reader :live_timeout
    # @return [Integer] bytes of the largest JSON item or SSE event that a read takes
    attr_reader :max_message_bytes
    # @return [RetryPolicy]
    attr_reader :retry_policy
    # @return [Symbol] what a reader's `each` yields where read is called without `format:`: :batches or :items
    attr_reader :each_yields
    # @return [String, nil] file of certificates (PEM) to trust beside the system's
    attr_reader :ca_file
    # @return [String, nil] file with the certificate (PEM) for servers that want one
    attr_reader :client_cert
    # @return [String, nil] file with the private key (PEM) of client_cert; nil: the same file
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
      @each_yields = :batches
      @ca_file = nil
      @client_cert = nil
      @client_key = nil
    end

    # @param url [String, URI, nil] absolute, http or https; a path in it is kept in front of the streams' paths
    # @raise [ArgumentError] if it is not such a URL
    def base_url=(url)
      url = url.to_s if defined?(::URI::Generic) && url.is_a?(::URI::Generic)
      url = Text.utf8(url, "base_url") if url.is_a?(String)
      unless url.nil? || (url.is_a?(String) && url.match?(%r{\Ahttps?://[^/?#\s]+[^?#\s]*\z}i))
        raise ArgumentError, "base_url must be an http or https URL without a query, " \
                             "got #{url.is_a?(String) ? Redaction.url(url).inspect : url.class}"
      end
      @base_url = url && -url
    end

    # @param content_type [String, Symbol, nil] a MIME type, :json, :bytes, :text; nil: the server's own default
    # @raise [ArgumentError] for anything else
    def default_content_type=(content_type)
      ContentType.normalize(content_type)
      @default_content_type = content_type
    end

    # @param headers [Hash, nil] name => String or object with `call`
    # @raise [ArgumentError] for anything else
    def default_headers=(headers)
      RequestOptions.normalize(headers, "headers")
      @default_headers = headers.to_h.dup
    end

    # @param params [Hash, nil] name => String or object with `call`
    # @raise [ArgumentError] for anything else
    def default_params=(params)
      RequestOptions.normalize(params, "params")
      @default_params = params.to_h.dup
    end

    # @param seconds [Numeric] above 0
    # @raise [ArgumentError] for anything else
    def timeout=(seconds)
      @timeout = positive_seconds("timeout", seconds)
    end

    # @param seconds [Numeric] above 0
    # @raise [ArgumentError] for anything else
    def live_timeout=(seconds)
      @live_timeout = positive_seconds("live_timeout", seconds)
    end

    # @param bytes [Integer] above 0, below 2 ** 31
    # @raise [ArgumentError] for anything else
    def max_message_bytes=(bytes)
      unless bytes.is_a?(Integer) && bytes.between?(1, LARGEST_SIZE)
        raise ArgumentError, "max_message_bytes must be an Integer from 1 to #{LARGEST_SIZE}, got #{bytes.inspect}"
      end

      @max_message_bytes = bytes
    end

    # @param policy [RetryPolicy, nil] nil: {RetryPolicy.default}; a copy is kept
    # @raise [ArgumentError] for anything else, and for impossible values in it
    def retry_policy=(policy)
      policy ||= RetryPolicy.default
      raise ArgumentError, "retry_policy must be a RetryPolicy, got #{policy.class}" unless policy.is_a?(RetryPolicy)

      @retry_policy = policy.dup.validate!
    end

    # @param unit [Symbol] :batches, or :items for code that was written for the pure-Ruby client
    # @raise [ArgumentError] for anything else
    def each_yields=(unit)
      unless EACH_YIELDS.include?(unit)
        raise ArgumentError, "each_yields must be :batches or :items, got #{unit.inspect}"
      end

      @each_yields = unit
    end

    # @param path [String, Pathname, nil]
    # @raise [ArgumentError] if it is not the path of a file that can be read
    def ca_file=(path)
      @ca_file = readable_file("ca_file", path)
    end

    # @param path [String, Pathname, nil] holds the certificate first, and then those of its issuers
    # @raise [ArgumentError] if it is not the path of a file that can be read
    def client_cert=(path)
      @client_cert = readable_file("client_cert", path)
    end

    # @param path [String, Pathname, nil] holds a key that is not encrypted
    # @raise [ArgumentError] if it is not the path of a file that can be read
    def client_key=(path)
      @client_key = readable_file("client_key", path)
    end

    # The files of the client's certificate and its key.
    # @api private
    # @return [Array(String, String), nil]
    # @raise [ArgumentError] if there is a key without a certificate
    def identity
      return [client_cert, client_key || client_cert] if client_cert
      raise ArgumentError, "client_key needs a client_cert" if client_key
    end

    # Freezes the settings and all that is in them. Callables, and the objects that the caller gave, are left alone.
    # @return [Configuration] self
    def freeze
      return self if frozen?

      @default_headers = RequestOptions.normalize(@default_headers, "headers")
      @default_params = RequestOptions.normalize(@default_params, "params")
      @retry_policy = @retry_policy.dup.freeze
      super
    end

    # Names what is set; never the value of a header or parameter.
    # @return [String]
    def inspect
      "#<#{self.class} base_url=#{Redaction.url(base_url).inspect} timeout=#{timeout} " \
        "headers=#{default_headers.keys} params=#{default_params.keys} each_yields=#{each_yields.inspect}>"
    end

    private

    def positive_seconds(name, seconds)
      valid = (seconds.is_a?(Numeric) && seconds.real?) && seconds.to_f.finite? && seconds.positive?
      raise ArgumentError, "#{name} must be seconds above 0, got #{seconds.inspect}" unless valid

      seconds
    end

    def readable_file(name, path)
      unless path.nil? || path.is_a?(String) || path.respond_to?(:to_path)
        raise ArgumentError, "#{name} must be a path, got #{path.class}"
      end
      if path && !(File.file?(path) && File.readable?(path))
        raise ArgumentError, "#{name} #{path.to_s.inspect} is not a file that can be read"
      end

      path && File.path(path).dup.freeze
    end

    def initialize_copy(other)
      super
      @default_headers = other.default_headers.dup
      @default_params = other.default_params.dup
      @retry_policy = other.retry_policy.dup
    end
  end
end
