# frozen_string_literal: true

module DurableStreams
  # A frozen configuration and its connection pool. Each {Client} has its own context. The methods of {DurableStreams}
  # share {DurableStreams.default_context}. Any number of threads may use a context, before and after `fork`.
  class Context
    # @return [Configuration] frozen
    attr_reader :config

    # Process-wide settings for tests. They apply to streams created afterwards.
    # @api private
    class << self
      # @return [#call, nil] the transport: receives a `Native::Request` and responds to it; nil: the network
      attr_accessor :transport

      # @return [String, nil] the URL that paths are joined to if no base_url is configured
      attr_accessor :fallback_base_url

      # @param url [String]
      # @return [Boolean] whether it begins with a scheme and `://`; if not, it is a path
      def absolute?(url)
        url.match?(%r{\A[a-z][a-z0-9+.-]*://}i)
      end
    end

    # @param parent_config [Configuration] initial values
    # @yieldparam config [Configuration] a copy of it to change
    # @raise [ArgumentError] if a setting is invalid
    def initialize(parent_config = DurableStreams.configuration)
      @config = parent_config.dup
      yield @config if block_given?
      @config.freeze
      @native = Native::Client.new(timeout: @config.timeout.to_f, live_timeout: @config.live_timeout.to_f,
                                   max_message_bytes: @config.max_message_bytes,
                                   retry_policy: @config.retry_policy.to_native, patient: @config.patient?,
                                   trusted_origins: trusted_origins_callable ? [] : @config.trusted_origins,
                                   proxy: @config.proxy, ca_file: @config.ca_file, identity: @config.identity)
      check
    end

    # Joins a path to the base_url with exactly one slash. Returns an absolute URL (scheme and `://`) unchanged; its
    # server receives the configuration's headers and parameters.
    # @param url [String, URI]
    # @param stand_in [String, nil] the URL that a path is joined to if there is no base_url
    # @return [String]
    # @raise [ArgumentError] if the url is neither a URL nor a path; if it is a path and there is no base_url; if the
    #   path has a fragment, or leaves the base_url's path by `..` (encoded or not) in any server's reading
    def resolve_url(url, stand_in: Context.fallback_base_url)
      url = url_text(url)
      return url if Context.absolute?(url)

      base = @config.base_url || stand_in
      unless base
        raise ArgumentError, "url #{Redaction.url(url).inspect} is a path, and no base_url is configured: set " \
                             "base_url (of Client.new or DurableStreams.configure), or begin the URL with http:// or https://"
      end

      Native.join_url(base, url)
    end

    # @return [String]
    def inspect
      "#<#{self.class} #{@config.inspect}>"
    end

    # Closes idle connections. Later requests raise {ClosedError}.
    # @api private
    # @return [nil]
    def close
      @native.close
      nil
    end

    # @api private
    # @return [Boolean]
    def closed?
      @native.closed?
    end

    # Creates the native handle of a stream, with the headers and parameters of this context and the stream's own.
    # @api private
    # @param url [String] absolute
    # @param headers [Hash] normalized: see {RequestOptions.normalize}
    # @param params [Hash] normalized: see {RequestOptions.normalize}
    # @param exactly_once [Boolean, nil] nil: the configuration's
    # @return [Native::Stream]
    # @raise [ArgumentError] if the URL, a name or a value is invalid
    def native_stream(url, headers, params, exactly_once: nil)
      Native::Stream.new(@native, url,
                         headers: RequestOptions.merge_headers(@config.default_headers, headers),
                         params: RequestOptions.merge_params(@config.default_params, params),
                         exactly_once: exactly_once.nil? ? @config.exactly_once : exactly_once,
                         transport: Context.transport, trusted_origins: trusted_origins_callable)
    end

    private

    def trusted_origins_callable
      @config.trusted_origins if @config.trusted_origins.respond_to?(:call)
    end

    # Creates a native handle only to let the extension check the settings now, not at the first stream.
    def check
      native_stream(@config.base_url || "http://localhost", RequestOptions::NONE, RequestOptions::NONE)
    end

    def url_text(url)
      url = Text.url(url, "url")
      raise ArgumentError, "url must be a String or a URI, got #{Options.class_of(url)}" unless url.is_a?(String)
      raise ArgumentError, "url must not be empty: give a URL or a path" if url.strip.empty?

      reason = mistake(url)
      raise ArgumentError, "url must #{reason}: #{Redaction.url(url).inspect}" if reason

      url
    end

    # URL parsers silently drop control characters and surrounding spaces, and a URL without its two slashes would be
    # taken for a path.
    def mistake(url)
      case url
      when /[[:cntrl:]]|\A\s|\s\z/ then "not contain control characters or begin or end with a space"
      when %r{\Ahttps?:(?!//)}i then "have two slashes after its scheme"
      end
    end
  end
end
