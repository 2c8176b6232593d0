# frozen_string_literal: true

require "json"
require "rbconfig"

module Bench
  # Starts the measuring processes. Each line, run and client has a new process, so that its memory and load time are
  # those of this client only.
  class Children
    # The child failed or did not end in time.
    class Failed < StandardError; end

    # The maximal length of a failure's reason, in characters.
    LONGEST_REASON = 200
    PROGRAM = File.expand_path("../child.rb", __dir__)

    # @param libraries [Hash{String => String, nil}] lib folder of each client; nil for the floor, which loads no client
    # @param quick [Boolean] whether the children measure small amounts
    def initialize(libraries, quick:)
      @libraries = libraries
      @quick = quick
    end

    # @param line [Line]
    # @param params [Hash] for the line; includes "client"
    # @param before [Array<String>] the command, such as perf, that runs the child
    # @return [Hash{Symbol => Numeric}]
    # @raise [Line::Unequal, Failed]
    def run(line, params, before: [])
      task = [line.class.id, @quick.to_s, JSON.generate(params)]
      output = run_program(command(params.fetch("client"), before) + task, line.limit)
      result = JSON.parse(output, symbolize_names: true)
      raise Line::Unequal, result[:unequal] if result.key?(:unequal)

      result
    end

    private

    def command(client, before)
      library = @libraries.fetch(client)
      [*before, RbConfig.ruby, *(["-I", library] if library), PROGRAM]
    end

    def run_program(command, limit)
      output, input = IO.pipe
      errors, error_input = IO.pipe
      pid = Process.spawn(*command, out: input, err: error_input)
      [input, error_input].each(&:close)
      waiter = Process.detach(pid)
      readers = [output, errors].map { |io| Thread.new { io.read } }
      unless waiter.join(limit)
        Process.kill("KILL", pid)
        raise Failed, "did not end within #{limit} s"
      end
      printed, messages = readers.map(&:value)
      raise Failed, reason(messages, waiter.value) unless waiter.value.success?

      printed.lines.last.to_s
    ensure
      [output, errors].compact.each(&:close)
    end

    def reason(messages, status)
      line = messages.lines.grep(/Error/).first || messages.lines.last || status.to_s
      line.strip[0, LONGEST_REASON]
    end
  end
end
