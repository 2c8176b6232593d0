# frozen_string_literal: true

require "io/wait"
require "open3"
require "rbconfig"
require_relative "clock"
require_relative "gc_pressure"
require_relative "moving_objects"

# Child processes for specs: forked children that return a value, and separate programs. Every wait has a time limit. A
# child that exceeds it is killed, and the failure shows what it was doing.
class ChildProcess
  include Clock

  # Seconds that a child may take. Multiplied by GCPressure::SLOWER.
  TIMEOUT = 60
  # The load path of programs.
  LIB = File.expand_path("../../lib", __dir__)

  # A child failed, or did not end in time.
  class Failure < StandardError; end

  # How a child ended. `status` is a Process::Status, `took` is how many seconds the wait took, `output` is all that the
  # child printed to standard output and standard error.
  Ended = Struct.new(:status, :took, :output, keyword_init: true)

  class << self
    # Runs the block in a forked child and returns its value, which Marshal must be able to dump. If the block raises,
    # this raises too. The child ends with exit!, so that no at_exit block of this process runs in it.
    def run(timeout: TIMEOUT, &block)
      start(timeout: timeout, &block).value
    end

    # Like `run`, but returns the child at once. Its `value` waits.
    def start(timeout: TIMEOUT)
      output, input = IO.pipe
      pid = Process.fork do
        output.close
        result = begin
          [:ok, yield]
        rescue Exception => e # rubocop:disable Lint/RescueException -- the parent raises any of them
          [:error, e.full_message(highlight: false)]
        end
        input.write(Marshal.dump(result))
        input.close
        Process.exit!(0)
      end
      input.close
      new(pid, output, timeout: timeout)
    end

    # Runs a Ruby program with the library loaded and with additional environment variables. With a block: yields the
    # running child, then waits for its end.
    # @return [Ended]
    def program(source, *arguments, environment: {}, options: [], timeout: TIMEOUT)
      ruby = [RbConfig.ruby, "-W", "-W:no-experimental", *options, "-I", LIB, "-r", "durable_streams",
              *GCPressure.options, "-e", source, "--", *arguments]
      child = command(environment, *ruby, timeout: timeout)
      yield child if block_given?
      child.ended
    end

    # Like `program`.
    # @return [Array(String, Process::Status)] all that the program printed, and how it ended
    def outcome(source, *arguments, **options)
      ended = program(source, *arguments, **options)
      [ended.output, ended.status]
    end

    # Starts any command, with additional environment variables.
    # @return [ChildProcess]
    def command(environment, *command, timeout: TIMEOUT)
      output, input = IO.pipe
      stdin, to_stdin = IO.pipe
      pid = Process.spawn(environment, *command, in: stdin, out: input, err: input)
      [stdin, input].each(&:close)
      new(pid, output, to_stdin, timeout: timeout)
    end
  end

  # @return [Integer]
  attr_reader :pid

  def initialize(pid, output, input = nil, timeout: TIMEOUT)
    @timeout = timeout * GCPressure::SLOWER
    @pid = pid
    @output = output
    @input = input
    @printed = String.new
    @waiter = Process.detach(pid)
  end

  # Waits until the child has printed something that matches.
  # @return [MatchData]
  def wait_for(pattern)
    deadline = now + @timeout
    until (match = pattern.match(printed))
      part = read(deadline)
      raise Failure, "the child ended without #{pattern.inspect}, having printed:\n#{printed}" unless part
    end
    match
  end

  # Writes to a program's standard input.
  def write(text)
    @input.write(text)
  end

  # Sends a signal.
  def signal(name)
    Process.kill(name, @pid)
  end

  # Kills the child if it still runs.
  def kill
    signal("KILL") if @waiter.alive?
    @waiter.join
  rescue Errno::ESRCH
    nil # it ended between the check and the signal
  end

  # Waits for the end of a forked child.
  # @return [Object] its block's value
  def value
    ended = self.ended
    kind, value = Marshal.load(ended.output) unless ended.output.empty? # rubocop:disable Security/MarshalLoad
    raise Failure, "a forked child ended with #{ended.status} and without a result" unless kind
    raise Failure, "a forked child raised:\n#{value}" if kind == :error

    value
  end

  # Waits for the child's end.
  # @return [Ended]
  def ended
    started = now
    deadline = started + @timeout
    nil while read(deadline)
    status = @waiter.join([deadline - now, 0].max)&.value
    give_up unless status
    Ended.new(status: status, took: now - started, output: printed)
  end

  private

  # @return [String] the output so far, without Ruby's warning about MovingObjects::ENVIRONMENT
  def printed
    @printed.sub(MovingObjects::WARNING, "")
  end

  # @return [String, nil] new output, or nil at the end
  def read(deadline)
    give_up unless @output.wait_readable([deadline - now, 0].max)
    part = @output.read_nonblock(65_536, exception: false)
    @printed << part if part.is_a?(String)
    part
  end

  def give_up
    stacks = Dir["/proc/#{@pid}/task/*/{comm,wchan}"].sort.map { |file| "#{file}: #{read_quietly(file)}" }
    signal("KILL")
    @waiter.join
    raise Failure, "the child took more than #{@timeout} s, having printed:\n#{printed}\n#{stacks.join("\n")}"
  end

  def read_quietly(file)
    File.read(file).chomp
  rescue SystemCallError => e
    e.class
  end
end
