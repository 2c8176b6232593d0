# frozen_string_literal: true

require "securerandom"
require_relative "server"
require_relative "node_server"

# Access to real servers: one server of each kind that all examples share, and separate ones for single examples.
#
# `on_each_server DurableStreams::Stream do … end` instead of `RSpec.describe` runs a group's examples once against each
# kind of server. Where the servers differ, `server_kind` says which one the example uses.
module ServerHelpers
  # Milliseconds. Short, so that examples do not wait half a minute for an empty poll.
  LONG_POLL_TIMEOUT_MS = 1_000
  # The servers by kind. Examples without a kind use the first.
  KINDS = { rust: TestServer, node: NodeServer }.freeze
  # Appended to a group's description.
  TITLES = { rust: "on durable-streams-server", node: "on @durable-streams/server" }.freeze
  LOG_FOLDER = File.expand_path("../../tmp", __dir__)

  class << self
    # @param kind [Symbol] see KINDS
    # @return [TestServer] the shared server of this kind, which starts at the first call
    def shared(kind)
      @shared ||= {}
      @shared[kind] ||= begin
        FileUtils.rm_f(log_path(kind))
        KINDS.fetch(kind).start(log_path: log_path(kind), long_poll_timeout_ms: LONG_POLL_TIMEOUT_MS)
      end
    end

    # @return [Array<String>] the log files of the shared servers; they remain after the run
    def logs
      (@shared || {}).keys.map { |kind| log_path(kind) }
    end

    # Stops the shared servers, if there are any.
    def stop
      @shared&.each_value(&:stop)
      @shared = nil
    end

    # Defines the group once for each kind of server that can run here. A report after the run names the skipped groups.
    # @param described [Object] as for RSpec.describe
    # @param words [Array<String, Symbol>] as for RSpec.describe: more of the description, and metadata
    # @param metadata [Hash] as for RSpec.describe
    def describe_on_each(described, *words, **metadata, &block)
      texts, tags = words.partition { |word| word.is_a?(String) }
      KINDS.each_key do |kind|
        if kind == :node && NodeServer.missing
          skipped << described
        else
          RSpec.describe(described, [*texts, TITLES.fetch(kind)].join(" "), *tags, server: kind, **metadata, &block)
        end
      end
    end

    # @return [Array] the described objects whose examples are skipped for the Node server in this run
    def skipped
      @skipped ||= []
    end

    # @return [String, nil] the report about them for the end of the run
    def report_skipped(groups = skipped)
      return if groups.empty?

      "SKIPPED: the examples of #{groups.join(", ")} against the Node server, because #{NodeServer.missing}. " \
        "bin/setup installs it."
    end

    private

    def log_path(kind)
      File.join(LOG_FOLDER, "spec-server-#{kind}.log")
    end
  end

  # @return [Symbol] the kind of this example's server: see KINDS
  def server_kind
    self.class.metadata[:server] || KINDS.keys.first
  end

  # @return [TestServer] the shared server. Do not stop, kill or suspend it
  def server
    ServerHelpers.shared(server_kind)
  end

  # @return [String] the shared server's base URL
  def server_url
    server.url
  end

  # @param name [String] a part of the path, to recognize it in a log
  # @return [String] a path that no other example uses, with a leading slash
  def unique_path(name = "stream")
    "/specs/#{name}-#{SecureRandom.hex(8)}"
  end

  # @return [String] the URL of a stream that no other example uses, on the shared server
  def unique_url(name = "stream")
    server_url + unique_path(name)
  end

  # Starts a server for this example only, which it may kill, suspend or restart. It stops when the example ends.
  # @param kind [Symbol] see KINDS
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
    report = ServerHelpers.report_skipped
    RSpec.configuration.reporter.message("\n#{report}") if report
  end
end
