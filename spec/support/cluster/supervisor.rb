# frozen_string_literal: true

require "fileutils"
require "json"

class Cluster
  # Starts, signals and ends the programs of a cluster, in a separate process. It signals only its children. An ended
  # child keeps its process id until the supervisor reaps it, so no signal can reach another process.
  #
  # Each line of its input is a command, and each line of its output the response, both in JSON. At the end of its input
  # it kills the remaining programs and removes the folder. The input ends when the process that started it ends, for
  # any reason.
  class Supervisor
    # Seconds that a program may take to end after a KILL.
    PATIENCE = 10

    # @param folder [String] the folder of the programs' files
    def initialize(folder)
      @folder = folder
      @pids = {}
    end

    # @param input [IO] the commands
    # @param output [IO] the responses
    def run(input, output)
      output.sync = true
      while (line = input.gets)
        output.puts(JSON.generate(respond(*JSON.parse(line))))
      end
    rescue Errno::EPIPE
      nil # The reader of the responses has ended.
    ensure
      @pids.each_key { |name| kill(name) }
      FileUtils.rm_rf(@folder)
    end

    private

    def respond(command, name, *arguments)
      case command
      when "start" then start(name, *arguments)
      when "kill" then kill(name)
      when "signal" then signal(name, *arguments)
      when "running" then running?(name)
      end
    end

    def start(name, command, environment, log)
      raise "#{name} runs already" if running?(name)

      @pids[name] = Process.spawn(environment, *command, in: File::NULL, out: [log, "a"], err: %i[child out])
    end

    # KILL also ends a suspended program.
    def kill(name)
      return unless running?(name)

      signal(name, "KILL")
      Process.wait(@pids.delete(name))
    end

    def signal(name, signal)
      Process.kill(signal, @pids.fetch(name)) if running?(name)
    end

    def running?(name)
      pid = @pids[name]
      return false unless pid
      return true unless Process.wait(pid, Process::WNOHANG)

      @pids.delete(name)
      false
    end
  end
end

if $PROGRAM_NAME == __FILE__
  # A separate process group that ignores a terminal's signals: only the end of the input ends it.
  %w[INT TERM HUP].each { |name| Signal.trap(name, "IGNORE") }
  Cluster::Supervisor.new(ARGV.fetch(0)).run($stdin, $stdout)
end
