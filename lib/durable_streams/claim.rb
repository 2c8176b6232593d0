# frozen_string_literal: true

module DurableStreams
  # A claim of a subscription: see {Subscriptions#claim}. It ends {#lease_ttl} seconds after its last ack.
  class Claim
    # @return [String] the id of the wake that was claimed
    attr_reader :wake_id
    # @return [Integer] increases with every wake of the subscription
    attr_reader :generation
    # @return [Numeric] seconds that the claim lasts without an ack
    attr_reader :lease_ttl
    # @return [Array<SubscribedStream>] all streams of the subscription
    attr_reader :streams

    # @api private
    # @param json [Hash{String => Object}] as the server grants it
    # @param ack [Native::Stream] the endpoint for acks
    # @param release [Native::Stream] the endpoint for the release
    def initialize(json, ack, release)
      @wake_id, @generation, token = json.values_at("wake_id", "generation", "token")
      @lease = [@wake_id, @generation, token].freeze
      @lease_ttl = Subscription.seconds(json["lease_ttl_ms"])
      @streams = json["streams"].map { |stream| SubscribedStream.of(stream) }.freeze
      @ack = ack
      @release = release
    end

    # Says how far streams are handled, and prolongs the claim.
    # @param offsets [Hash{String => String}] path => the last offset that is handled; may be empty
    # @param done [Boolean] whether to end the claim
    # @return [Boolean] if done: whether something is pending, so that the server wakes a worker again
    # @raise [FencedError] if the claim has ended
    def ack(offsets = {}, done: false)
      Native.ack_subscription(@ack, @lease, offsets.to_a, done ? true : false)
    end

    # Ends the claim without an ack. If something is pending, the server wakes a worker again.
    # @return [nil]
    # @raise [FencedError] if it has ended
    def release
      Native.release_subscription(@release, @lease)
    end

    # @return [String] without the token
    def inspect
      "#<#{self.class} wake_id=#{@wake_id.inspect} generation=#{@generation}>"
    end
  end
end
