# frozen_string_literal: true

require "rspec/core"
require "durable_streams"
require_relative "testing/server"

module DurableStreams
  module Testing
    # Gives examples a real server: one for the whole run, started when an example first asks for it, stopped at the
    # end. Every process has its own, so runs may go on side by side. Its streams stay from example to example: give
    # each example a path of its own, or have it delete what it made.
    #
    # The program is found as {Server.program} says. A run that is killed, or interrupted twice, which is the same to
    # RSpec, stops nothing: it leaves the server's folder behind, and the server itself unless the interrupts came from
    # a terminal, which sends them to the server too.
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
        # @return [Server] the run's server, started when first asked for
        # @raise [Server::StartError] if there is none, or it does not start
        def server
          # At exit too: who asks for it outside a suite has no hooks.
          LOCK.synchronize { @server ||= Server.start.tap { |started| at_exit { started.stop } } }
        end

        # @return [Boolean] whether an example has asked for the server
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
      # @raise [Server::StartError] if there is none, or it does not start
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
