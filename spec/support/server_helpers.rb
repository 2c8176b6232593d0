# frozen_string_literal: true

require "securerandom"
require_relative "server"

# What examples use to reach real servers: one shared by the whole run, and any number of their own.
module ServerHelpers
  # Milliseconds: short, so that examples meet empty polls without waiting half a minute for one.
  LONG_POLL_TIMEOUT_MS = 1_000
  # Outlives the run, for a look after a failure.
  LOG_PATH = File.expand_path("../../tmp/spec-server.log", __dir__)

  class << self
    # @return [TestServer] the run's shared server, started when first asked for
    def shared
      @shared ||= begin
        FileUtils.rm_f(LOG_PATH)
        TestServer.start(log_path: LOG_PATH, long_poll_timeout_ms: LONG_POLL_TIMEOUT_MS)
      end
    end

    # @return [Boolean] whether any example asked for the shared server
    def started?
      !@shared.nil?
    end

    # Stops the shared server, if there is one.
    def stop
      @shared&.stop
      @shared = nil
    end
  end

  # @return [TestServer] the run's shared server: do not stop, kill or suspend it
  def server
    ServerHelpers.shared
  end

  # @return [String] the shared server's base URL
  def server_url
    server.url
  end

  # @param name [String] something to recognize it by in a log
  # @return [String] a path no other example uses, with a leading slash
  def unique_path(name = "stream")
    "/specs/#{name}-#{SecureRandom.hex(8)}"
  end

  # @return [String] the URL of a stream that no other example uses, on the shared server
  def unique_url(name = "stream")
    server_url + unique_path(name)
  end

  # Starts a server of this example's own, to be killed, suspended or restarted at will; stopped when the example ends.
  # @param options [Hash] as for TestServer.start
  # @return [TestServer]
  def start_server(**options)
    TestServer.start(**options).tap { |started| own_servers << started }
  end

  # @api private
  def own_servers
    @own_servers ||= []
  end
end

RSpec.configure do |config|
  config.include ServerHelpers
  config.after { own_servers.each(&:stop) }
  config.after(:suite) { ServerHelpers.stop }
end
