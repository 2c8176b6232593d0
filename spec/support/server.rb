# frozen_string_literal: true

require_relative "../../lib/durable_streams/testing/server"

# The real server for specs, the demo and benchmarks: the one that bin/setup has built, unless the environment variable
# DURABLE_STREAMS_SERVER names another.
class TestServer < DurableStreams::Testing::Server
  # The path at which bin/setup installs the server.
  BINARY = File.expand_path("../../.server/bin/durable-streams-server", __dir__)

  # @return [String] the server program
  # @raise [StartError] if there is none
  def self.program
    return super if ENV.key?("DURABLE_STREAMS_SERVER")
    raise StartError, "#{BINARY} is missing: run bin/setup" unless File.executable?(BINARY)

    BINARY
  end
end
