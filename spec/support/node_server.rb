# frozen_string_literal: true

require_relative "server"

# The reference server of the Durable Streams project, which runs on Node, in its own process. It has the interface of
# TestServer: with `durability: :wal` it stores its data, and the state of producers, in files.
class NodeServer < TestServer
  SCRIPT = File.expand_path("node_server.mjs", __dir__)
  # The folder where bin/setup installs the package.
  PACKAGE = File.expand_path("../../.server/node/node_modules/@durable-streams/server", __dir__)
  # The server's default.
  LONG_POLL_TIMEOUT_MS = 30_000

  # @return [String, nil] the reason why the server cannot run here; nil if it can
  def self.missing
    return "there is no `node` in PATH" unless node
    return "#{PACKAGE} is not there" unless File.directory?(PACKAGE)
  end

  # @return [String, nil] the Node program
  def self.node
    @node ||= ENV.fetch("PATH", "").split(File::PATH_SEPARATOR).map { |folder| File.join(folder, "node") }
                 .find { |file| File.file?(file) && File.executable?(file) }
  end

  # @param options [Hash] as for TestServer.new
  def initialize(**options)
    raise StartError, "the Node server cannot run: #{self.class.missing}; run bin/setup" if self.class.missing

    super(binary: self.class.node, **options)
  end

  private

  def command
    [@binary, SCRIPT, PACKAGE, HOST, @port.to_s, (@long_poll_timeout_ms || LONG_POLL_TIMEOUT_MS).to_s,
     *(@data_dir unless @durability == "memory")]
  end
end
