# frozen_string_literal: true

require "json"
require "durable_streams"

# Lets the client conformance suite of Durable Streams drive this gem: commands come in as lines of JSON, each is
# carried out with the gem's public API, and its result goes out as one line of JSON.
module Conformance
  require_relative "failure"
  require_relative "session"
  require_relative "stream_commands"
  require_relative "read_command"
  require_relative "producer_commands"
  require_relative "validate_command"
  require_relative "benchmark"

  # The conversation: reads commands, finds who carries them out, writes results. Knows nothing of streams.
  class Adapter
    # A line must not hold these raw: Node's readline takes them for ends of lines.
    LINE_SEPARATORS = { "\u2028" => '\u2028', "\u2029" => '\u2029' }.freeze

    # What the suite asks about before it runs the cases that need it.
    FEATURES = { batching: true, sse: true, longPoll: true, auto: true, streaming: true, dynamicHeaders: true,
                 retryOptions: true, batchItems: true, strictZeroValidation: true }.freeze

    # Who carries out commands: each says in COMMANDS which, and by which of its methods.
    HANDLERS = [StreamCommands, ReadCommand, ProducerCommands, ValidateCommand, Benchmark].freeze

    # @param input [IO] commands
    # @param output [IO] results
    def initialize(input, output)
      @input = input.set_encoding(Encoding::UTF_8)
      @output = output.set_encoding(Encoding::UTF_8)
      @session = nil
      @handlers = {}
    end

    # Answers commands until one says `shutdown`, or no more come.
    # @return [nil]
    def run
      @input.each_line do |line|
        next if line.strip.empty?

        type, result = answer(line)
        write(result)
        break if type == "shutdown"
      end
      @session&.close
      nil
    end

    private

    # @param line [String]
    # @return [Array(String, Hash)] the command's type, and the result without what is nil
    def answer(line)
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
        handler = @handlers[type] or raise NotImplementedCommand, "no such command, or not before init: #{type}"
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
