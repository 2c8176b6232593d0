# frozen_string_literal: true

require_relative "dynamic_value"

module Conformance
  # The state from `init` to `shutdown`: one client, so that connections are reused, the streams' content types, and the
  # dynamic headers and parameters.
  class Session
    # @return [DurableStreams::Client]
    attr_reader :client
    # @return [Hash{String => String}] known content types by path
    attr_reader :content_types
    # @return [Hash{String => DynamicValue}] by name
    attr_reader :headers, :params

    # @param server_url [String]
    # @param timeout_ms [Numeric, nil] nil: the gem's own timeout
    def initialize(server_url, timeout_ms)
      timeout = timeout_ms ? { timeout: timeout_ms / 1000.0 } : {}
      @client = DurableStreams::Client.new(base_url: server_url, exactly_once: true, **timeout)
      @content_types = {}
      @headers = {}
      @params = {}
    end

    # @param command [Hash] with "path" and optional "headers"
    # @param content_type [String, nil] nil: the known content type of the path
    # @return [DurableStreams::Stream] a handle whose requests have the dynamic values
    def stream(command, content_type: nil)
      path = command.fetch("path")
      client.stream(path, content_type: content_type || content_types[path],
                          headers: headers.merge(command["headers"] || {}), params: params)
    end

    # Stores the content type that a handle knows.
    # @param path [String]
    # @param stream [DurableStreams::Stream]
    # @return [DurableStreams::Stream] the same stream
    def remember(path, stream)
      content_types[path] = stream.content_type if stream.content_type
      stream
    end

    # @return [Hash{Symbol => Hash, nil}] the dynamic values of the last request, for a result
    def sent
      { headersSent: last_values(headers), paramsSent: last_values(params) }
    end

    # @return [nil]
    def close
      client.close
    end

    private

    def last_values(dynamic)
      dynamic.transform_values(&:last) unless dynamic.empty?
    end
  end
end
