# frozen_string_literal: true

require "io/wait"
require "open3"
require "rbconfig"
require_relative "clock"
require_relative "gc_pressure"
require_relative "moving_objects"

# Child processes for specs about processes: forked ones that report back, and programs of their own. Every wait for one
# is bounded, and one that does not end in time is killed and says what it was doing.
class ChildProcess
  include Clock

  # Seconds a child may take (and GCPressure::SLOWER times as many).
  PATIENCE = 60
  # What spec programs begin with.
  LIB = File.expand_path("../../lib", __dir__)

  # A child failed, or did not end in time.
  class Failure < StandardError; end

  # How a child ended: `status` is a Process::Status, `took` the seconds that waiting for it took, `output` all that it
  # printed, standard error included.
  Ended = Struct.new(:status, :took, :output, keyword_init: true)

  class << self
    # Runs the block in a forked child and returns its value, which must be one that Marshal takes. What it raises is
    # raised here. The child ends with exit!, so that nothing of this process's is run at its exit.
    def run(patience: PATIENCE, &block)
      start(patience: patience, &block).value
    end

    # As `run`, but returns at once: `value` waits.
    def start(patience: PATIENCE)
      output, input = IO.pipe
      pid = Process.fork do
        output.close
        answer = begin
          [:ok, yield]
        rescue Exception => e # rubocop:disable Lint/RescueException -- whatever it is, the parent is told
          [:error, e.full_message(highlight: false)]
        end
        input.write(Marshal.dump(answer))
        input.close
        Process.exit!(0)
      end
      input.close
      new(pid, output, patience: patience)
    end

    # Runs a Ruby program that has the library loaded, with more environment. With a block: yields the running child,
    # then waits for its end.
    # @return [Ended]
    def program(source, *arguments, environment: {}, options: [], patience: PATIENCE)
      ruby = [RbConfig.ruby, "-W", *options, "-I", LIB, "-r", "durable_streams", *GCPressure.options,
              "-e", source, "--", *arguments]
      child = command(environment, *ruby, patience: patience)
      yield child if block_given?
      child.ended
    end

    # Runs a program as `program` does.
    # @return [Array(String, Process::Status)] all that it printed, and how it ended
    def outcome(source, *arguments, **options)
      ended = program(source, *arguments, **options)
      [ended.output, ended.status]
    end

    # Starts any command, with more environment.
    # @return [ChildProcess]
    def command(environment, *command, patience: PATIENCE)
      output, input = IO.pipe
      stdin, to_stdin = IO.pipe
      pid = Process.spawn(environment, *command, in: stdin, out: input, err: input)
      [stdin, input].each(&:close)
      new(pid, output, to_stdin, patience: patience)
    end
  end

  # @return [Integer]
  attr_reader :pid

  def initialize(pid, output, input = nil, patience: PATIENCE)
    @patience = patience * GCPressure::SLOWER
    @pid = pid
    @output = output
    @input = input
    @printed = String.new
    @waiter = Process.detach(pid)
  end

  # Waits until the child has printed something that matches.
  # @return [MatchData]
  def wait_for(pattern)
    deadline = now + @patience
    until (match = pattern.match(printed))
      part = read(deadline)
      raise Failure, "the child ended without #{pattern.inspect}, having printed:\n#{printed}" unless part
    end
    match
  end

  # Writes to a program's standard input.
  def tell(text)
    @input.write(text)
  end

  # Sends a signal.
  def signal(name)
    Process.kill(name, @pid)
  end

  # Waits for the end of a forked child.
  # @return [Object] its block's value
  def value
    ended = self.ended
    kind, value = Marshal.load(ended.output) unless ended.output.empty? # rubocop:disable Security/MarshalLoad
    raise Failure, "a forked child ended with #{ended.status} and no answer" unless kind
    raise Failure, "a forked child raised:\n#{value}" if kind == :error

    value
  end

  # Waits for the child's end.
  # @return [Ended]
  def ended
    started = now
    deadline = started + @patience
    nil while read(deadline)
    status = @waiter.join([deadline - now, 0].max)&.value
    give_up unless status
    Ended.new(status: status, took: now - started, output: printed)
  end

  private

  # @return [String] what has come so far, less what Ruby says of the environment that it is in
  def printed
    @printed.sub(MovingObjects::SAID, "")
  end

  # @return [String, nil] what came, or nil at the end
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
    raise Failure, "the child took more than #{@patience} s, having printed:\n#{printed}\n#{stacks.join("\n")}"
  end

  def read_quietly(file)
    File.read(file).chomp
  rescue SystemCallError => e
    e.class
  end
end
