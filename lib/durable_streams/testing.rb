# frozen_string_literal: true

require "durable_streams"
require_relative "testing/mock_response"
require_relative "testing/mock_path"
require_relative "testing/mock_offset"
require_relative "testing/mock_producers"
require_relative "testing/mock_stream"
require_relative "testing/mock_live_reads"
require_relative "testing/mock_rule"
require_relative "testing/mock_transport"
require_relative "testing/matchers" if defined?(RSpec)

module DurableStreams
  # For the tests of programs that use this library: streams that live in memory, without a network. Everything but the
  # sending of HTTP requests is the library's own code, retries, batching, readers and producers included.
  #
  # @example With RSpec
  #   require "durable_streams/testing"
  #
  #   RSpec.configure do |config|
  #     config.before { DurableStreams::Testing.install! }
  #     config.after { DurableStreams::Testing.reset! }
  #   end
  #
  #   it "publishes" do
  #     DurableStreams.create("/events", content_type: :json)
  #     Publisher.new.publish(event: "test")
  #     expect(DurableStreams::Testing.messages_for("/events")).to eq([{ "event" => "test" }])
  #   end
  module Testing
    # What paths are joined to while no base_url is configured.
    BASE_URL = "http://durable-streams.test"

    LOCK = Mutex.new
    private_constant :LOCK

    @mock_transport = nil
    @configuration = nil

    class << self
      # Has streams that are made from now on, by whatever client, live in {mock_transport}. Paths need no base_url.
      # @param strict [Boolean] whether a stream that was never created is not found, as on a server; otherwise it reads
      #   as an empty one of JSON, and what is appended creates it
      # @return [nil]
      def install!(strict: false)
        LOCK.synchronize { @configuration ||= DurableStreams.configuration }
        mock_transport.strict = strict
        Context.transport = mock_transport
        Context.fallback_base_url = BASE_URL
        nil
      end

      # @return [Boolean] whether {install!} was called, and {reset!} not since
      def installed?
        !Context.transport.nil?
      end

      # Has streams that are made from now on use the network again, forgets all there is in memory, and goes back to
      # the configuration there was at {install!}.
      # @return [nil]
      def reset!
        Context.transport = nil
        Context.fallback_base_url = nil
        before = LOCK.synchronize do
          @mock_transport = nil
          @configuration.tap { @configuration = nil }
        end
        before ? DurableStreams.send(:install, before) : DurableStreams.reset_configuration!
        nil
      end

      # Forgets streams, requests and the answers set by {MockTransport#on}.
      # @return [nil]
      def clear!
        mock_transport.clear!
      end

      # @return [MockTransport] where the streams live, and what says how requests are answered
      def mock_transport
        LOCK.synchronize { @mock_transport ||= MockTransport.new }
      end

      # @return [MockTransport, nil] nil unless it is installed
      def transport_if_installed
        Context.transport
      end

      # @param path [String] a stream's path (or URL)
      # @return [Array] its messages: what JSON.parse makes of them on a JSON stream, Strings on others
      def messages_for(path)
        mock_transport.messages_for(path)
      end

      # @return [Array<Hash>] the requests that were made, as {MockTransport#requests} has them
      def requests
        mock_transport.requests
      end
    end
  end
end
