# frozen_string_literal: true

module DurableStreams
  # How often, and after which pauses, a failed request is sent again. The pause before the n-th retry is random between
  # 0 and `initial_delay * multiplier ** (n - 1)`, at most `max_delay`. It is at least as long as a server's
  # Retry-After; if that exceeds `max_delay`, the error is raised without a retry.
  #
  # Where nobody has chosen a policy, live reads, producers and appends with `exactly_once` are patient: after their
  # first success, a live read retries until it is closed, and the others for 120 seconds (`delivery_timeout:` of a
  # producer). A patient live read waits as long as Retry-After says, also beyond `max_delay`.
  #
  # {Client} and {DurableStreams.configure} copy the policy, so later changes to it have no effect on them.
  RetryPolicy = Struct.new(:max_retries, :initial_delay, :max_delay, :multiplier, :retryable_statuses,
                           keyword_init: true) do
    # @!attribute max_retries
    #   @return [Integer] retries after the first try; 0: none
    # @!attribute initial_delay
    #   @return [Numeric] seconds, above 0
    # @!attribute max_delay
    #   @return [Numeric] seconds, initial_delay or more
    # @!attribute multiplier
    #   @return [Numeric] factor from one pause to the next, 1 or more
    # @!attribute retryable_statuses
    #   @return [Array<Integer>] response statuses that are retried

    # The default policy.
    # @return [RetryPolicy] frozen
    def self.default
      new.freeze
    end

    # @param policy [RetryPolicy, nil] an option
    # @return [Hash, nil] it in the form that the extension takes
    # @raise [ArgumentError] if it is anything else, or has an invalid value
    # @api private
    def self.to_native(policy)
      return if policy.nil?

      Options.instance("retry_policy", policy, self, "a #{self} such as #{self}.new(max_retries: 3)").to_native
    end

    # @param max_retries [Integer]
    # @param initial_delay [Numeric] seconds
    # @param max_delay [Numeric] seconds
    # @param multiplier [Numeric]
    # @param retryable_statuses [Array<Integer>]
    # @raise [ArgumentError] if a value is invalid
    def initialize(max_retries: 5, initial_delay: 0.1, max_delay: 30.0, multiplier: 2.0,
                   retryable_statuses: RetryPolicy::RETRYABLE_STATUSES, **unknown)
      Options.refuse_unknown(unknown, RetryPolicy.instance_method(:initialize))
      super(max_retries: max_retries, initial_delay: initial_delay, max_delay: max_delay, multiplier: multiplier,
            retryable_statuses: retryable_statuses)
      validate!
    end

    # @return [RetryPolicy] self
    # @raise [ArgumentError] if a value is invalid; names the first one
    def validate!
      check(:max_retries, "an Integer from 0 to 2**32 - 1") do |value|
        value.is_a?(Integer) && value.between?(0, 4_294_967_295)
      end
      check(:initial_delay, "a number of seconds above 0") { |value| number?(value) && value.positive? }
      check(:max_delay, "a number of seconds, initial_delay (#{initial_delay}) or more") do |value|
        number?(value) && value >= initial_delay
      end
      check(:multiplier, "a number, 1 or more") { |value| number?(value) && value >= 1 }
      check(:retryable_statuses, "an Array of HTTP error statuses (400 to 599)") do |value|
        value.is_a?(Array) && value.all? { |status| status.is_a?(Integer) && status.between?(400, 599) }
      end
      self
    end

    # Deeply freezes the policy.
    # @return [RetryPolicy] self
    def freeze
      self.retryable_statuses = retryable_statuses.dup.freeze unless frozen? || retryable_statuses.frozen?
      super
    end

    # The policy in the form that the extension takes.
    # @api private
    # @return [Hash{Symbol => Object}]
    # @raise [ArgumentError] if a value is invalid
    def to_native
      validate!
      to_h.merge!(initial_delay: initial_delay.to_f, max_delay: max_delay.to_f, multiplier: multiplier.to_f)
    end

    private

    def check(name, expectation)
      value = self[name]
      Options.refuse(name, expectation, value) unless yield value
    end

    def number?(value)
      (value.is_a?(Integer) || value.is_a?(Float) || value.is_a?(Rational)) && value.to_f.finite?
    end
  end

  # Statuses of usually temporary problems: too many requests, and failures of the server or a gateway.
  RetryPolicy::RETRYABLE_STATUSES = [429, 500, 502, 503, 504].freeze
end
