# frozen_string_literal: true

module DurableStreams
  module Testing
    # Compares messages and bodies with expected data.
    # @api private
    module Matching
      # Classes whose objects match by `===` only.
      PATTERNS = [Module, Regexp, Range, Proc, TrueClass, FalseClass, NilClass].freeze
      private_constant :PATTERNS

      NOT_INSTALLED = "DurableStreams::Testing.install! was not called"

      class << self
        # @param path [String] a stream's path (or URL)
        # @return [String] what a failed expectation says of the stream
        def state_of(path)
          messages = Testing.messages_for(path)
          return "the stream has #{messages.inspect}" unless messages.empty?
          return NOT_INSTALLED unless Testing.installed?

          streams = Testing.mock_transport.streams.keys
          return "the stream has no messages" if streams.include?(MockPath.of(path))

          "there is no such stream (#{streams.empty? ? "there are none" : "streams: #{streams.join(", ")}"})"
        end

        # @param expected [Object] see {Helpers#assert_appended_to}
        # @param actual [Object] a message, as JSON.parse returns it
        # @return [Boolean]
        def match?(expected, actual)
          case expected
          when Hash then actual.is_a?(Hash) && match_values?(expected, actual)
          when Array then actual.is_a?(Array) && match_elements?(expected, actual)
          when String then actual.is_a?(String) && expected.b == actual.b
          when Symbol then expected.to_s == actual
          else matches_pattern?(expected, actual) || (!pattern?(expected) && stored(expected) == actual)
          end
        end

        # @param expected [Object]
        # @param body [String, nil]
        # @return [Boolean]
        def match_body?(expected, body)
          return false if body.nil?
          return body.include?(expected) if expected.is_a?(String)
          return matches_pattern?(expected, body) if expected.respond_to?(:matches?)

          sent = JSON.parse(body)
          match?(expected, sent) || (sent.is_a?(Array) && sent.any? { |message| match?(expected, message) })
        rescue JSON::ParserError
          false
        end

        private

        def match_values?(expected, actual)
          expected.all? { |key, value| actual.key?(key.to_s) && match?(value, actual[key.to_s]) }
        end

        def match_elements?(expected, actual)
          actual.size == expected.size && expected.zip(actual).all? { |pair| match?(*pair) }
        end

        def pattern?(expected)
          PATTERNS.any? { |type| expected.is_a?(type) } || expected.respond_to?(:matches?)
        end

        def matches_pattern?(expected, actual)
          expected == actual || expected === actual # rubocop:disable Style/CaseEquality -- also of RSpec's matchers
        end

        # @return [Object] what a stream has if the object was appended to it
        def stored(object)
          JSON.parse(DurableStreams.configuration.json_encoder.call([object])).first
        end
      end
    end
  end
end
