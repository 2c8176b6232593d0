# frozen_string_literal: true

require "json"
require "durable_streams"

# Connects the client conformance suite of Durable Streams with this gem: reads commands as lines of JSON, executes each
# one with the gem's public API, and writes its result as a line of JSON.
module Conformance
  require_relative "failure"
  require_relative "session"
  require_relative "stream_commands"
  require_relative "read_command"
  require_relative "producer_commands"
  require_relative "validate_command"
  require_relative "benchmark"

  # Reads commands, dispatches them to the handlers, and writes results.
  class Adapter
    # Escaped in results, because Node's readline treats them as line ends.
    LINE_SEPARATORS = { "\u2028" => '\u2028', "\u2029" => '\u2029' }.freeze

    # The features that the adapter declares. The suite skips cases that need others.
    FEATURES = { batching: true, sse: true, longPoll: true, auto: true, streaming: true, dynamicHeaders: true,
                 retryOptions: true, batchItems: true, strictZeroValidation: true }.freeze

    # The classes that execute commands. Their COMMANDS map a command's type to a method.
    HANDLERS = [StreamCommands, ReadCommand, ProducerCommands, ValidateCommand, Benchmark].freeze

    # @param input [IO] commands
    # @param output [IO] results
    def initialize(input, output)
      @input = input.set_encoding(Encoding::UTF_8)
      @output = output.set_encoding(Encoding::UTF_8)
      @session = nil
      @handlers = {}
    end

    # Executes commands until `shutdown` or the end of the input.
    # @return [nil]
    def run
      @input.each_line do |line|
        next if line.strip.empty?

        type, result = execute(line)
        write(result)
        break if type == "shutdown"
      end
      @session&.close
      nil
    end

    private

    # @param line [String]
    # @return [Array(String, Hash)] the command's type, and the result without nils
    def execute(line)
      type = nil
      command = JSON.parse(line)
      type = command.fetch("type")
      [type, { type: type, success: true, **perform(type, command) }.compact]
    rescue StandardError => e
      [type, { type: "error", success: false, commandType: type, **Failure.describe(e, type) }.compact]
    end

    def perform(type, command)
      case type
      when "init" then start(command)
      when "shutdown" then {}
      else
        handler = @handlers[type] or raise NotImplementedCommand, "#{type} is unknown, or came before init"
        handler.call(command)
      end
    end

    def start(command)
      @session&.close
      @session = Session.new(command.fetch("serverUrl"), command["timeoutMs"])
      @handlers = HANDLERS.flat_map do |part|
        handler = part.new(@session)
        part::COMMANDS.map { |type, method| [type, handler.method(method)] }
      end.to_h
      { clientName: "durable_streams (Ruby, native)", clientVersion: DurableStreams::VERSION, features: FEATURES }
    end

    def write(result)
      @output.puts(JSON.generate(result).gsub(/[\u2028\u2029]/, LINE_SEPARATORS))
      @output.flush
    end
  end
end
