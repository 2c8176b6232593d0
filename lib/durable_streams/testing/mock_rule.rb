# frozen_string_literal: true

module DurableStreams
  module Testing
    # A rule of {MockTransport#on}: which requests it applies to, and their response.
    # @api private
    class MockRule
      # Failures that a rule can cause instead of a response.
      FAULTS = %i[refused connection timeout].freeze
      METHODS = %i[get head put post delete].freeze

      # @see MockTransport#on
      def initialize(method, path, response:, error:, times:, block:)
        @method = Options.one_of("method", method.to_s.downcase.to_sym, METHODS)
        unless [response, error, block].compact.size == 1
          raise ArgumentError, "give exactly one of status:, error: and a block"
        end

        valid_times = times.nil? || (times.is_a?(Integer) && times.positive?)
        Options.refuse("times", "an Integer above 0, or nil", times) unless valid_times

        @path = path
        @result = response || (error && fault(error))
        @block = block
        @remaining = times
      end

      # Checks whether the rule applies to the request, and counts it. Called under the transport's lock.
      # @param request [Hash]
      # @return [Boolean]
      def use?(request)
        return false unless @method == request[:method] && @path === request[:path] && @remaining != 0 # rubocop:disable Style/CaseEquality

        @remaining -= 1 if @remaining
        true
      end

      # Runs the block, if there is one. Not called under the lock, because it is the application's code.
      # @param request [Hash]
      # @return [MockResponse, Symbol, nil] a response, a fault, or nil: as if there were no rule
      # @raise [ArgumentError] if the block returned anything else
      def result(request)
        return @result unless @block

        case (result = @block.call(request))
        when nil, MockResponse then result
        when Integer then MockResponse.new(status: result)
        when Hash then MockResponse.new(**result)
        when Symbol then fault(result)
        else
          raise ArgumentError, "the block must return a status, a Hash of status:, body: and headers:, " \
                               "a MockResponse, one of #{FAULTS}, or nil, got #{result.class}"
        end
      end

      private

      def fault(name)
        Options.one_of("error", name, FAULTS)
      end
    end
  end
end
