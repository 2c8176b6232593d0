# frozen_string_literal: true

require "rspec/core"
require "durable_streams"
require_relative "testing/server"

module DurableStreams
  module Testing
    # Gives examples a real server: one for the whole run. It starts when an example first uses it, and stops at the end
    # of the run. Every process has its own server, so runs can be parallel. Streams persist between examples: use a
    # path of its own in each example, or delete the stream.
    #
    # {Server.program} finds the program. A run that is killed, or interrupted twice, does not clean up: the server's
    # folder remains, and the server keeps running unless the interrupts came from a terminal, which interrupts it too.
    #
    # @example
    #   require "durable_streams/rspec"
    #
    #   RSpec.describe EventService do
    #     let(:client) { DurableStreams::Client.new(base_url: test_server_url) }
    #   end
    module TestServer
      LOCK = Mutex.new
      private_constant :LOCK

      @server = nil

      class << self
        # @return [Server] the run's server; the first call starts it
        # @raise [Server::StartError] if there is no server program, or it does not start
        def server
          # at_exit as well: code outside a suite has no hooks.
          LOCK.synchronize { @server ||= Server.start.tap { |started| at_exit { started.stop } } }
        end

        # @return [Boolean] whether an example has used the server
        def started?
          !@server.nil?
        end

        # Stops the run's server, if there is one.
        # @return [nil]
        def stop
          LOCK.synchronize do
            @server&.stop
            @server = nil
          end
        end
      end

      # @return [String] the base URL of the run's server
      # @raise [Server::StartError] if there is no server program, or it does not start
      def test_server_url
        TestServer.server.url
      end
    end
  end
end

RSpec.configure do |config|
  config.include DurableStreams::Testing::TestServer
  config.after(:suite) { DurableStreams::Testing::TestServer.stop }
end
