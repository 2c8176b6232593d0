# frozen_string_literal: true

class FaultServer
  # Decides which request gets which scripted response. Rules with a limited number of uses come first, in the order in
  # which they were added; then the latest of the others.
  class Script
    # `verb` (the method), `path` (String or Regexp) and `query` (Hash of some of the parameters) are nil if any value
    # matches. `read_body` is false if the response starts before the body is read. `times` is nil for no limit.
    Rule = Struct.new(:verb, :path, :query, :read_body, :times, :steps, keyword_init: true) do
      def match?(request)
        (verb.nil? || verb == request[:verb]) &&
          (path.nil? || path === request[:path]) && # rubocop:disable Style/CaseEquality
          (query || {}).all? { |name, value| value === request[:params][name] } # rubocop:disable Style/CaseEquality
      end
    end

    def initialize
      @mutex = Mutex.new
      @rules = []
      @connects = []
    end

    def add(fields)
      @mutex.synchronize { @rules << Rule.new(**fields) }
    end

    # Adds steps for the next `times` connections, played before anything is read from them.
    def add_connect(steps, times)
      @mutex.synchronize { times.times { @connects << steps } }
    end

    # Returns the rule for a request, or nil. Counts it as used if its uses are limited.
    def take(request)
      @mutex.synchronize do
        matching = @rules.select { |rule| rule.match?(request) }
        rule = matching.find(&:times) || matching.last
        next rule unless rule&.times

        rule.times -= 1
        @rules.delete_if { |other| other.equal?(rule) } if rule.times.zero?
        rule
      end
    end

    # Returns the steps for a new connection; nil for an ordinary one.
    def take_connect
      @mutex.synchronize { @connects.shift }
    end
  end
end
