# frozen_string_literal: true

module DurableStreams
  module Testing
    # For the tests of an application: each test has streams in memory, which are empty when it begins.
    #
    # Include it into the test cases of Minitest and Rails, or by RSpec's `config.include`. Each test then begins with
    # {Testing.install!} and ends with {Testing.reset!}. For streams that must be created, as on a server, call
    # `DurableStreams::Testing.install!(strict: true)` in `setup` or `before`. All threads of a process share the
    # streams: run parallel tests in processes.
    #
    # @example Minitest, Rails
    #   class ActiveSupport::TestCase
    #     include DurableStreams::Testing::Helpers
    #   end
    # @example RSpec
    #   RSpec.configure { |config| config.include DurableStreams::Testing::Helpers }
    module Helpers
      # Passes if the stream has a message, or one that matches the expected data. Messages that producers have not sent
      # yet are sent first.
      #
      # A Hash matches if the message has its keys (Symbols or Strings) with matching values; other keys are ignored. An
      # Array matches message arrays of its size. A Class, a Regexp, a Range, a Proc or a matcher matches by `===`. Any
      # other object matches what the configuration's `json_encoder` makes of it.
      #
      # @example
      #   assert_appended_to "/orders", type: "order.created", id: Integer, at: order.created_at
      # @param path [String] the stream's path (or URL)
      # @param expected [Object] omitted: any message
      # @return [Object] the first such message, as JSON.parse returns it; on streams that are not JSON a String
      # @raise [Minitest::Assertion, RSpec::Expectations::ExpectationNotMetError] if there is none
      def assert_appended_to(path, expected = (any = true))
        Testing.flush_producers
        messages = Testing.messages_for(path)
        index = any ? messages.index { true } : messages.index { |message| Matching.match?(expected, message) }
        what = any ? "a message was" : "a message like #{expected.inspect} was"
        failure = "expected that #{what} appended to #{path}, but #{Matching.state_of(path)}"
        if respond_to?(:assert, true)
          assert(index, failure)
        elsif !index
          ::RSpec::Expectations.fail_with(failure)
        end
        messages[index]
      end

      # Minitest calls it before `setup`.
      # @api private
      def before_setup
        install_streams_in_memory
        super
      end

      # Minitest calls it after `teardown`.
      # @api private
      def after_teardown
        super
      ensure
        remove_streams_in_memory
      end

      private

      # With rspec-rails, RSpec's hook and Minitest's both run.
      def install_streams_in_memory
        return if @streams_in_memory

        @streams_in_memory = true
        Testing.clear!
        Testing.install!
      end

      # What producers have not sent yet must not reach the streams of the next test. So nothing may fail any more what
      # they send again.
      def remove_streams_in_memory
        return unless @streams_in_memory

        @streams_in_memory = false
        Testing.mock_transport.clear_rules
        Testing.flush_producers
        Testing.reset!
      end

      # Not by `included`: the hooks of a group would run after those of the configuration.
      if defined?(::RSpec::Core)
        ::RSpec.configure do |config|
          config.prepend_before { install_streams_in_memory if is_a?(Helpers) }
          config.append_after { remove_streams_in_memory if is_a?(Helpers) }
        end
      end
    end
  end
end
