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
require_relative "testing/matching"
require_relative "testing/helpers"
require_relative "testing/matchers" if defined?(RSpec)

module DurableStreams
  # For tests of applications: streams in memory, without a network. Only the transport is replaced: retries, batching,
  # readers and producers are the real ones.
  #
  # {Helpers} does so for every test, with RSpec and Minitest.
  #
  # @example With RSpec
  #   require "durable_streams/testing"
  #
  #   RSpec.configure { |config| config.include DurableStreams::Testing::Helpers }
  #
  #   it "publishes" do
  #     DurableStreams.create("/events", content_type: :json)
  #     Publisher.new.publish(event: "test")
  #     expect(DurableStreams::Testing.messages_for("/events")).to eq([{ "event" => "test" }])
  #   end
  module Testing
    # The URL that paths are joined to if no base_url is configured.
    BASE_URL = "http://durable-streams.test"

    # The most seconds to wait for producers.
    FLUSH_LIMIT = 5.0
    LOCK = Mutex.new
    private_constant :FLUSH_LIMIT, :LOCK

    @mock_transport = nil
    @configuration = nil # what install! found

    class << self
      # Connects streams that are created from now on, by any client, to {mock_transport}. Paths need no base_url.
      # @param strict [Boolean] whether requests for a stream that was never created get a 404, as from a server; if
      #   not, it reads as an empty JSON stream, and the first append creates it
      # @return [nil]
      def install!(strict: false)
        LOCK.synchronize { @configuration ||= DurableStreams.configuration }
        mock_transport.strict = strict
        Context.transport = mock_transport
        Context.fallback_base_url = BASE_URL
        nil
      end

      # @return [Boolean] whether {install!} was called, without a later {reset!}
      def installed?
        !Context.transport.nil?
      end

      # Connects streams that are created from now on to the network again, clears the mock transport, and restores the
      # configuration that {install!} found. Handles that were created before still use the mock transport, so an
      # application may keep its handles from test to test.
      # @return [nil]
      def reset!
        Context.transport = nil
        Context.fallback_base_url = nil
        clear!
        before = LOCK.synchronize { @configuration.tap { @configuration = nil } }
        before ? DurableStreams.send(:install, before) : DurableStreams.reset_configuration!
        nil
      end

      # Deletes the streams, the recorded requests and the rules of {MockTransport#on}.
      # @return [nil]
      def clear!
        mock_transport.clear!
      end

      # @return [MockTransport] the transport with the streams and the rules for responses
      def mock_transport
        LOCK.synchronize { @mock_transport ||= MockTransport.new }
      end

      # @return [MockTransport, nil] nil if it is not installed
      def transport_if_installed
        Context.transport
      end

      # Waits until the producers of this process have sent what was appended to them, or failed, or for some seconds.
      # @return [nil]
      def flush_producers
        Native.drain_producers(FLUSH_LIMIT)
      end

      # @param path [String] a stream's path (or URL)
      # @return [Array] its messages: on a JSON stream as JSON.parse returns them, on others Strings
      def messages_for(path)
        mock_transport.messages_for(path)
      end

      # @return [Array<Hash>] the recorded requests: see {MockTransport#requests}
      def requests
        mock_transport.requests
      end
    end
  end
end
