# frozen_string_literal: true

require "json"
require "open3"
require_relative "node_server"

# The JavaScript package @durable-streams/state, in a Node process that all examples share.
class JavaScriptState
  SCRIPT = File.expand_path("javascript_state.mjs", __dir__)
  # The folder where bin/setup installs the packages.
  FOLDER = File.dirname(NodeServer::PACKAGE)
  # Seconds that a request may take.
  LIMIT = 60

  # A request failed.
  class Failure < StandardError; end

  class << self
    # @return [String, nil] the reason why the package cannot run here; nil if it can
    def missing
      NodeServer.missing || ("#{FOLDER}/state is not there" unless File.directory?("#{FOLDER}/state"))
    end

    # @return [JavaScriptState] starts at the first call
    def shared
      @shared ||= new
    end

    # Ends the process, if there is one.
    def stop
      @shared&.stop
      @shared = nil
    end
  end

  def initialize
    @input, @output, @waiter = Open3.popen2(NodeServer.node, SCRIPT, FOLDER)
  end

  # Writes a history to a stream with the package's own functions.
  # @param url [String]
  # @param changes [Array<Hash>] changes (operation:, type:, key:, value:, oldValue:, headers:), or events of controls
  def write(url, changes)
    request("write", url: url, changes: changes)
  end

  # Reads a stream from its beginning to its present end.
  # @param url [String]
  # @return [Array] for each type that has values: the type and its pairs of key and value, in the package's order
  def materialize(url)
    request("materialize", url: url)
  end

  def stop
    @input.close
    Process.kill(:KILL, @waiter.pid) unless @waiter.join(10)
    @waiter.join
    @output.close
  end

  private

  def request(name, **options)
    @input.puts(JSON.generate(request: name, **options))
    line = @output.gets if @output.wait_readable(LIMIT)
    raise Failure, "#{name}: no response within #{LIMIT} s, or the process ended" unless line

    response = JSON.parse(line)
    response.fetch("result") { raise Failure, "#{name}: #{response["error"]}" }
  end
end

RSpec.configure { |config| config.after(:suite) { JavaScriptState.stop } }
