# frozen_string_literal: true

module DurableStreams
  # The subscriptions of a client's server. A subscription is a set of durable cursors, one for each of its streams.
  # When a stream is ahead of its cursor, the server wakes a `Worker` (type :pull_wake) or calls a `Webhook` (:webhook).
  #
  # Paths are relative to the client's base_url, which is the server's stream root.
  #
  # Every method raises {SubscriptionsNotSupportedError} if the server has no subscriptions.
  #
  # @example
  #   subscriptions = client.subscriptions
  #   subscriptions.create("orders", type: :pull_wake, pattern: "orders/*", wake_stream: "wakes/orders")
  #   subscriptions.add_streams("orders", "returns/today")
  class Subscriptions
    # Seconds that a claim may last without an ack.
    LEASE_TTL = (1..600)
    private_constant :LEASE_TTL

    # @api private
    # @param context [Context]
    def initialize(context)
      @context = context
    end

    # Creates a subscription. Succeeds if it exists with the same configuration. Streams that match are linked at their
    # present ends: what they have already wakes nobody.
    # @param id [String] names it
    # @param type [Symbol] :pull_wake: the server writes to wake_stream; :webhook: it calls url
    # @param pattern [String, nil] paths of streams: `*` is one segment, `**` any number, such as "orders/*"
    # @param streams [Array<String, Stream>] further streams; give a pattern, or streams, or both
    # @param wake_stream [String, Stream, nil] for :pull_wake: a JSON stream that you create. Workers read it
    # @param url [String, URI, nil] for :webhook: where a `Webhook` is. Servers accept https, and http for localhost
    # @param lease_ttl [Numeric, nil] seconds from 1 to 600 after which the claim of a worker that does not ack ends;
    #   nil: the server's default, 30
    # @param description [String, nil] text for humans
    # @return [Subscription]
    # @raise [SubscriptionExistsError] if it exists with another configuration
    # @raise [BadRequestError] if the server does not accept the configuration, such as the URL
    # @raise [ArgumentError] if an argument is invalid
    def create(id, type:, pattern: nil, streams: [], wake_stream: nil, url: nil, lease_ttl: nil, description: nil,
               **unknown)
      Options.refuse_unknown(unknown, method(:create))
      raise ArgumentError, "give a pattern, or streams, or both" if pattern.nil? && Array(streams).empty?

      endpoint = endpoint(id)
      options = delivery(type, wake_stream, url)
      options.update(pattern: text("pattern", pattern)&.delete_prefix("/"), streams: paths(streams),
                     lease_ttl_ms: milliseconds(lease_ttl), description: text("description", description))
      Subscription.parse(Native.create_subscription(endpoint, options))
    rescue SubscriptionsNotSupportedError => e
      undo(endpoint) if e.status == 201
      raise
    end

    # @param id [String]
    # @return [Subscription, nil] nil if there is none with this id
    def find(id)
      text = Native.find_subscription(endpoint(id))
      text && Subscription.parse(text)
    end

    # Deletes a subscription with its cursors. Servers may accept this for one that does not exist.
    # @param id [String]
    # @return [nil]
    def delete(id)
      Native.delete_subscription(endpoint(id))
    end

    # Links streams to a subscription, at their present ends. Those that are linked already do not change.
    # @param id [String]
    # @param paths [Array<String, Stream>]
    # @return [nil]
    # @raise [StreamNotFoundError] if there is no such subscription
    def add_streams(id, *paths)
      raise ArgumentError, "give at least one stream" if paths.flatten.empty?

      Native.add_subscription_streams(endpoint(id, "streams"), paths(paths.flatten))
    end

    # Removes a stream that was added by its path. It remains linked if the pattern matches it.
    # @param id [String]
    # @param path [String, Stream]
    # @return [nil]
    # @raise [StreamNotFoundError] if there is no such subscription
    def remove_stream(id, path)
      Native.remove_subscription_stream(endpoint(id, "streams", *path("stream", path).split("/")))
    end

    # Claims a subscription of type :pull_wake, for programs that make their own worker. `Worker` does everything that
    # is needed.
    # @param id [String]
    # @param worker [String] a name that {AlreadyClaimedError#current_holder} shows to others
    # @return [Claim, nil] nil if nothing is pending
    # @raise [AlreadyClaimedError] if a worker has claimed it, possibly this one by a request whose response was lost
    # @raise [StreamNotFoundError] if there is no such subscription
    def claim(id, worker:)
      Options.refuse("worker", "a String that is not empty", worker) unless worker.is_a?(String) && !worker.empty?

      text = Native.claim_subscription(endpoint(id, "claim"), Text.utf8(worker, "worker"))
      text && Claim.new(JSON.parse(text), endpoint(id, "ack"), endpoint(id, "release"))
    end

    # @api private
    # @param id [String] of a subscription
    # @param segments [Array<String>] what follows in the path
    # @return [Native::Stream] the endpoint of a request about it
    def endpoint(id, *segments)
      Options.instance("id", id, String)
      raise ArgumentError, "id must not be empty, \".\" or \"..\"" if ["", ".", ".."].include?(id)

      native(["subscriptions", Text.utf8(id, "id"), *segments])
    end

    # @api private
    # @return [String] the server's signing keys, as JSON
    def signing_keys
      Native.signing_keys(native(["jwks.json"]))
    end

    # The path of a stream as requests have it.
    # @api private
    # @param name [String] the argument's name
    # @param stream [Stream, String] or its path (or URL)
    # @return [String]
    # @raise [ArgumentError] if it is neither
    def path(name, stream)
      return stream.path if stream.is_a?(Stream)

      Stream.new(Options.instance(name, stream, String, "a path or a Stream"), context: @context).path
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@context.config.base_url).inspect}>"
    end

    private

    def native(segments)
      path = segments.map { |segment| segment.b.gsub(/[^A-Za-z0-9_.~-]/) { |byte| format("%%%02X", byte.ord) } }
      url = @context.resolve_url("__ds/#{path.join("/")}")
      @context.native_stream(url, RequestOptions::NONE, RequestOptions::NONE)
    end

    # Deletes the ordinary stream that a server without subscriptions has made.
    def undo(endpoint)
      endpoint.delete
    rescue DurableStreamError
      nil # The stream remains. The caller gets the error that says what is wrong.
    end

    def delivery(type, wake_stream, url)
      case type
      when :pull_wake
        raise ArgumentError, "type :pull_wake needs wake_stream, and no url" if wake_stream.nil? || url

        { webhook: nil, wake_stream: path("wake_stream", wake_stream) }
      when :webhook
        raise ArgumentError, "type :webhook needs url, and no wake_stream" if url.nil? || wake_stream

        { webhook: text("url", Text.url(url, "url")), wake_stream: nil }
      else Options.refuse("type", ":pull_wake or :webhook", type)
      end
    end

    def paths(streams)
      Options.instance("streams", streams, Array, "an Array").map { |stream| path("stream", stream) }
    end

    def text(name, value)
      Text.utf8(Options.instance(name, value, String), name) unless value.nil?
    end

    def milliseconds(lease_ttl)
      return if lease_ttl.nil?
      return (lease_ttl * 1000).round if lease_ttl.is_a?(Numeric) && lease_ttl.real? && LEASE_TTL.cover?(lease_ttl)

      Options.refuse("lease_ttl", "seconds from 1 to 600", lease_ttl)
    end
  end
end
