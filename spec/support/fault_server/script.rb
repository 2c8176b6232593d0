# frozen_string_literal: true

class FaultServer
  # Which request gets which reply. Rules that apply a limited number of times come first, in the order in which they
  # were given (a queue); then the latest of the others.
  class Script
    # A rule: `verb` (the method), `path` (String or Regexp) and `query` (Hash of some of the parameters) are nil where
    # any will do. `read_body` is false if the reply starts before the body is read. `times` is nil for no limit.
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

    # Adds what to do with the next `times` connections before anything is read from them.
    def add_connect(steps, times)
      @mutex.synchronize { times.times { @connects << steps } }
    end

    # The rule for a request, used up by that if its times are limited; nil if there is none.
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

    # What to do with a new connection; nil if it is an ordinary one.
    def take_connect
      @mutex.synchronize { @connects.shift }
    end
  end
end
