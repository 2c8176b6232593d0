# frozen_string_literal: true

require_relative "../../lib/durable_streams/testing/server"

# The server that bin/setup has built, if DURABLE_STREAMS_SERVER does not name another, for specs, the demo and
# benchmarks.
class TestServer < DurableStreams::Testing::Server
  # Where bin/setup puts the server.
  BINARY = File.expand_path("../../.server/bin/durable-streams-server", __dir__)

  # @return [String] the server program
  # @raise [StartError] if there is none
  def self.program
    return super if ENV.key?("DURABLE_STREAMS_SERVER")
    raise StartError, "#{BINARY} is missing: run bin/setup" unless File.executable?(BINARY)

    BINARY
  end
end
