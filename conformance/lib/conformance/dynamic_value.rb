# frozen_string_literal: true

module Conformance
  # A header or parameter that the gem computes for every request.
  class DynamicValue
    # @return [String, nil] the value of the last request
    attr_reader :last

    # @param kind [String] "counter" (1, 2, 3 …), "timestamp" (milliseconds) or "token" (always the same)
    # @param token [String, nil]
    # @raise [ArgumentError] if the kind is unknown
    def initialize(kind, token = nil)
      raise ArgumentError, "#{kind} is an unknown kind of value" unless %w[counter timestamp token].include?(kind)

      @kind = kind
      @token = token
      @count = 0
      @last = nil
    end

    # @return [String] the value for the next request
    def call
      @last = case @kind
              when "counter" then (@count += 1).to_s
              when "timestamp" then Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond).to_s
              else @token.to_s
              end
    end
  end
end
