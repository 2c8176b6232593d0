# frozen_string_literal: true

require "open3"
require "rbconfig"

# Runs a block of the documentation as a user would: as a separate program that loads only this gem.
#
# The files in `blocks` are unchanged blocks of the documentation. Only the host is replaced when they run.
class DocumentedProgram
  LIB = File.expand_path("../../lib", __dir__)
  BLOCKS = File.expand_path("blocks", __dir__)
  HOST = %r{https://(?:streams\.example\.com|\.\.\.)}
  # Seconds that a program may take; far more than it needs.
  TIME_LIMIT = 60

  # @param block [String] name of the block
  # @param host [String] URL that replaces the documentation's host
  # @param before [String] code that defines the variables and methods that the block uses
  # @param after [String] code that prints the block's effect
  # @param env [Hash{String => String}]
  def initialize(block, host:, before: "", after: "", env: {})
    code = File.read(File.join(BLOCKS, "#{block}.txt")).gsub(HOST, host)
    @script = ["require 'durable_streams'", "$stdout.sync = true", before, code, after].join("\n")
    @env = env
  end

  # Runs the program. A block receives each line as it is printed, and may cause the program's end.
  # @yieldparam line [String]
  # @return [String] all that the program printed
  # @raise [RuntimeError] if the program failed or did not end
  def run(&on_line)
    Open3.popen2e(@env, RbConfig.ruby, "-I", LIB, "-e", @script) do |input, out, wait|
      input.close
      collector = Thread.new { out.each_line.map { |line| line.tap { on_line&.call(line.chomp) } }.join }
      unless wait.join(TIME_LIMIT)
        Process.kill(:KILL, wait.pid)
        raise "the program did not end; it printed:\n#{collector.value}"
      end
      output = collector.value
      raise "the program failed:\n#{output}" unless wait.value.success?

      output
    end
  end
end
