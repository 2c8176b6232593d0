# frozen_string_literal: true

require "securerandom"
require_relative "server"
require_relative "node_server"

# What examples use to reach real servers: one of each kind shared by the whole run, and any number of their own.
#
# `on_each_server DurableStreams::Stream do … end`, in place of `RSpec.describe`, has a group's examples run once
# against each kind; where the servers differ, `server_kind` tells which one it is.
module ServerHelpers
  # Milliseconds: short, so that examples meet empty polls without waiting half a minute for one.
  LONG_POLL_TIMEOUT_MS = 1_000
  # By the kind that examples know them by. The first is what examples have that do not say.
  KINDS = { rust: TestServer, node: NodeServer }.freeze
  # What a group's description says of the kind.
  TITLES = { rust: "on durable-streams-server", node: "on @durable-streams/server" }.freeze
  LOG_FOLDER = File.expand_path("../../tmp", __dir__)

  class << self
    # @param kind [Symbol] see KINDS
    # @return [TestServer] the run's shared server of that kind, started when first asked for
    def shared(kind)
      @shared ||= {}
      @shared[kind] ||= begin
        FileUtils.rm_f(log_path(kind))
        KINDS.fetch(kind).start(log_path: log_path(kind), long_poll_timeout_ms: LONG_POLL_TIMEOUT_MS)
      end
    end

    # @return [Array<String>] the logs of the servers that examples asked for; they outlive the run
    def logs
      (@shared || {}).keys.map { |kind| log_path(kind) }
    end

    # Stops the shared servers, if there are any.
    def stop
      @shared&.each_value(&:stop)
      @shared = nil
    end

    # Defines the group once for each kind of server that can run here. What is left out is told at the end of the run.
    # @param described [Object] as for RSpec.describe
    # @param words [Array<String, Symbol>] likewise: more of the description, and metadata
    # @param metadata [Hash] likewise
    def describe_on_each(described, *words, **metadata, &block)
      texts, tags = words.partition { |word| word.is_a?(String) }
      KINDS.each_key do |kind|
        if kind == :node && NodeServer.missing
          left_out << described
        else
          RSpec.describe(described, [*texts, TITLES.fetch(kind)].join(" "), *tags, server: kind, **metadata, &block)
        end
      end
    end

    # @return [Array] what was described, and has no examples against the Node server in this run
    def left_out
      @left_out ||= []
    end

    # @return [String, nil] what to tell about it at the end of the run
    def report_left_out(groups = left_out)
      return if groups.empty?

      "LEFT OUT: the examples of #{groups.join(", ")} against the Node server: #{NodeServer.missing}. " \
        "bin/setup installs it."
    end

    private

    def log_path(kind)
      File.join(LOG_FOLDER, "spec-server-#{kind}.log")
    end
  end

  # @return [Symbol] which kind of server this example's is: see KINDS
  def server_kind
    self.class.metadata[:server] || KINDS.keys.first
  end

  # @return [TestServer] the run's shared server: do not stop, kill or suspend it
  def server
    ServerHelpers.shared(server_kind)
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
  # @param kind [Symbol] see KINDS; the Node server keeps nothing when it is restarted
  # @param options [Hash] as for TestServer.start
  # @return [TestServer]
  def start_server(kind: server_kind, **options)
    KINDS.fetch(kind).start(**options).tap { |started| own_servers << started }
  end

  # @api private
  def own_servers
    @own_servers ||= []
  end
end

# @see ServerHelpers.describe_on_each
def on_each_server(described, *words, **metadata, &block)
  ServerHelpers.describe_on_each(described, *words, **metadata, &block)
end

RSpec.configure do |config|
  config.include ServerHelpers
  config.after { own_servers.each(&:stop) }
  config.after(:suite) do
    ServerHelpers.stop
    report = ServerHelpers.report_left_out
    RSpec.configuration.reporter.message("\n#{report}") if report
  end
end
