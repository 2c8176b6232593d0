# frozen_string_literal: true

module DurableStreams
  # A frozen configuration and the connections that belong to it. A {Client} has one of its own; the module's own
  # methods share {DurableStreams.default_context}. May be used from any number of threads, before and after fork.
  class Context
    # @return [Configuration] frozen
    attr_reader :config

    # Where requests of streams that are made from now on go, if not over the network.
    # @api private
    class << self
      # @return [#call, nil] gets a {Native::Request}, and answers it; nil: the network
      attr_accessor :transport

      # @return [String, nil] what paths are joined to where no base_url is configured
      attr_accessor :fallback_base_url

      # @param url [String]
      # @return [Boolean] whether it begins with a scheme and `://`; otherwise it is a path
      def absolute?(url)
        url.match?(%r{\A[a-z][a-z0-9+.-]*://}i)
      end
    end

    # @param parent_config [Configuration] what to start from
    # @yieldparam config [Configuration] a copy, to be changed
    # @raise [ArgumentError] for settings that cannot be meant
    def initialize(parent_config = DurableStreams.configuration)
      @config = parent_config.dup
      yield @config if block_given?
      @config.freeze
      @native = Native::Client.new(timeout: @config.timeout.to_f, live_timeout: @config.live_timeout.to_f,
                                   max_message_bytes: @config.max_message_bytes,
                                   retry_policy: @config.retry_policy.to_native,
                                   ca_file: @config.ca_file, identity: @config.identity)
      check
    end

    # An absolute URL as it is, on any server: the headers and parameters of the configuration go there. A path joined
    # to the base_url with exactly one slash. What begins with a scheme and `://` is absolute; the rest is a path.
    # @param url [String, URI]
    # @param stand_in [String, nil] what a path is joined to where there is no base_url
    # @return [String]
    # @raise [ArgumentError] if it is neither; if it is a path and there is no base_url; if it is a path that leaves the
    #   base_url's path by `..` (encoded or not), as any server may read it, or has a fragment
    def resolve_url(url, stand_in: Context.fallback_base_url)
      url = url_text(url)
      return url if Context.absolute?(url)

      base = @config.base_url || stand_in
      raise ArgumentError, "url #{Redaction.url(url).inspect} is a path, and no base_url is configured" unless base

      Native.join_url(base, url)
    end

    # @return [String]
    def inspect
      "#<#{self.class} #{@config.inspect}>"
    end

    # Closes the connections; requests raise {ClosedError} from then on.
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

    # The extension's handle for a stream: this context's connections, headers and parameters, and the stream's own.
    # @api private
    # @param url [String] absolute
    # @param headers [Hash] as {RequestOptions.normalize} returns them
    # @param params [Hash] as {RequestOptions.normalize} returns them
    # @return [Native::Stream]
    # @raise [ArgumentError] for a URL, name or value that cannot be sent
    def native_stream(url, headers, params)
      Native::Stream.new(@native, url, RequestOptions.merge_headers(@config.default_headers, headers),
                         RequestOptions.merge_params(@config.default_params, params), Context.transport)
    end

    private

    # What the extension would refuse of every stream's settings, it refuses now.
    def check
      native_stream(@config.base_url || "http://localhost", RequestOptions::NONE, RequestOptions::NONE)
    end

    def url_text(url)
      url = url.to_s if defined?(::URI::Generic) && url.is_a?(::URI::Generic)
      raise ArgumentError, "url must be a String (a URL or a path), got #{url.class}" unless url.is_a?(String)

      url = Text.utf8(url, "url")
      raise ArgumentError, "url must not be empty" if url.strip.empty?

      reason = mistake(url)
      raise ArgumentError, "url must #{reason}: #{Redaction.url(url).inspect}" if reason

      url
    end

    # Spaces around a URL and control characters in it would be dropped later without a word, and missing slashes after
    # its scheme make a path of it.
    def mistake(url)
      case url
      when /[[:cntrl:]]|\A\s|\s\z/ then "not have control characters, nor spaces around it"
      when %r{\Ahttps?:(?!//)}i then "have two slashes after its scheme"
      end
    end
  end
end
