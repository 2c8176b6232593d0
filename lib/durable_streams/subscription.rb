# frozen_string_literal: true

module DurableStreams
  # A stream of a subscription. Readable as a Struct; frozen.
  SubscribedStream = Struct.new(:path, :link_type, :acked_offset, :tail_offset, :pending, keyword_init: true) do
    # @!attribute [r] path
    #   @return [String] relative to the client's base_url, as in its requests: percent-encoded
    # @!attribute [r] link_type
    #   @return [Symbol] :glob if only the pattern matches it, :explicit if it was added by its path
    # @!attribute [r] acked_offset
    #   @return [String] the last offset that is handled: the next read begins after it
    # @!attribute [r] tail_offset
    #   @return [String, nil] where the stream ended at the time of a claim or a webhook; otherwise nil
    # @!attribute [r] pending
    #   @return [Boolean, nil] whether there was something after acked_offset at that time; otherwise nil

    # @api private
    # @param json [Hash{String => Object}] as the server describes it
    # @return [SubscribedStream]
    def self.of(json)
      path, link_type, acked_offset, tail_offset, pending =
        json.values_at("path", "link_type", "acked_offset", "tail_offset", "has_pending")
      new(path: path, link_type: link_type&.to_sym, acked_offset: acked_offset, tail_offset: tail_offset,
          pending: pending).freeze
    end

    # @return [Boolean] whether there was something after acked_offset
    def pending?
      pending ? true : false
    end
  end

  # A subscription, as the server describes it. Readable as a Struct; frozen.
  Subscription = Struct.new(:id, :type, :pattern, :streams, :url, :signing, :wake_stream, :lease_ttl, :created_at,
                            :status, :description, keyword_init: true) do
    # @!attribute [r] id
    #   @return [String]
    # @!attribute [r] type
    #   @return [Symbol] :pull_wake or :webhook
    # @!attribute [r] pattern
    #   @return [String, nil] which streams it is about: `*` is one segment of a path, `**` any number
    # @!attribute [r] streams
    #   @return [Array<SubscribedStream>] the streams that are linked now
    # @!attribute [r] url
    #   @return [String, nil] where a webhook goes
    # @!attribute [r] signing
    #   @return [Hash{Symbol => String}, nil] of a webhook, if the server says it: alg, kid and jwks_url
    # @!attribute [r] wake_stream
    #   @return [String, nil] the path of the stream that wakes workers
    # @!attribute [r] lease_ttl
    #   @return [Numeric] seconds that a claim lasts without an ack
    # @!attribute [r] created_at
    #   @return [Time, nil]
    # @!attribute [r] status
    #   @return [Symbol, nil] :active, or :failed while a webhook that failed is to be sent again
    # @!attribute [r] description
    #   @return [String, nil]

    # @api private
    # @param text [String] the server's JSON
    # @return [Subscription]
    def self.parse(text)
      json = JSON.parse(text)
      webhook = json["webhook"] || {}
      new(id: json["id"] || json["subscription_id"], type: json["type"].tr("-", "_").to_sym, pattern: json["pattern"],
          streams: json["streams"].to_a.map { |stream| SubscribedStream.of(stream) }.freeze, url: webhook["url"],
          signing: webhook["signing"]&.transform_keys(&:to_sym)&.freeze, wake_stream: json["wake_stream"],
          lease_ttl: seconds(json["lease_ttl_ms"]), created_at: moment(json["created_at"]),
          status: json["status"]&.to_sym, description: json["description"]).freeze
    end

    # @api private
    # @param milliseconds [Integer, nil]
    # @return [Numeric, nil] an Integer if it is one
    def self.seconds(milliseconds)
      return if milliseconds.nil?

      (milliseconds % 1000).zero? ? milliseconds / 1000 : milliseconds / 1000.0
    end

    # @api private
    # @param timestamp [String, nil]
    # @return [Time, nil]
    def self.moment(timestamp)
      return if timestamp.nil?

      require "time" unless Time.respond_to?(:iso8601)
      Time.iso8601(timestamp)
    end
  end
end
