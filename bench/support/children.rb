# frozen_string_literal: true

require "json"
require "rbconfig"

module Bench
  # Starts the processes that do the work: each line, run and client has one of its own, so that memory and load time
  # are those of that client alone.
  class Children
    # The child failed, or gave no answer in time.
    class Failed < StandardError; end

    # Characters of what a child complained of.
    LONGEST_REASON = 200
    PROGRAM = File.expand_path("../child.rb", __dir__)

    # @param libraries [Hash{String => String, nil}] folder of each client; nil for the floor, which loads none
    # @param quick [Boolean]
    def initialize(libraries, quick:)
      @libraries = libraries
      @quick = quick
    end

    # @param line [Line]
    # @param params [Hash] with "client"
    # @param before [Array<String>] a program that runs the child, with its arguments
    # @return [Hash{Symbol => Numeric}]
    # @raise [Line::Unequal, Failed]
    def run(line, params, before: [])
      task = [line.class.id, @quick.to_s, JSON.generate(params)]
      answer = run_program(command(params.fetch("client"), before) + task, line.limit)
      result = JSON.parse(answer, symbolize_names: true)
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
        raise Failed, "no answer within #{limit} s"
      end
      answer, complaint = readers.map(&:value)
      raise Failed, reason(complaint, waiter.value) unless waiter.value.success?

      answer.lines.last.to_s
    ensure
      [output, errors].compact.each(&:close)
    end

    def reason(complaint, status)
      line = complaint.lines.grep(/Error/).first || complaint.lines.last || status.to_s
      line.strip[0, LONGEST_REASON]
    end
  end
end
