# frozen_string_literal: true

require "tempfile"

# Signals to a program whose other Ruby threads are all blocked in system calls. Before 3.3 Ruby's signal handler then
# only sets the interrupt flag and does not wake the main thread.
RSpec.describe "A signal while the main thread waits and other threads are blocked" do
  let(:faults) { FaultServer.shared }

  before { faults.on { |reply| reply.wait("go") } }
  after { faults.open("go") }

  # Runs `call`, to which the server does not respond, in a program with a second thread that waits for a file lock. The
  # program prints the class of the exception. With `signal`, a third thread sends that signal, and the program also
  # prints after how many seconds the call ended.
  # @return [ChildProcess]
  def start(call, signal: nil)
    ChildProcess.command({}, RbConfig.ruby, "-W", "-I", ChildProcess::LIB, "-r", "durable_streams", "-e", <<~RUBY)
      Ended = Class.new(StandardError)
      now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
      trap("USR1") { raise Ended }
      client = DurableStreams::Client.new(base_url: #{faults.url.dump}, timeout: #{AtOnce::SECONDS + 4},
                                          retry_policy: DurableStreams::RetryPolicy.new(max_retries: 0))
      stream = client.stream("/s", content_type: "application/json")
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", linger_ms: 0)
      signal = #{signal.inspect}
      if signal
        killer = Thread.new do
          Thread.stop
          sleep(rand * 0.1)
          sent = now.call
          Process.kill(signal, Process.pid)
          sent
        end
      end
      lock = #{lock.path.dump}
      blocked = Thread.new { File.open(lock) { |file| file.flock(File::LOCK_EX) } }
      Thread.pass until blocked.stop? && (!killer || killer.stop?)
      begin
        killer&.wakeup
        #{call}
      rescue Interrupt, Ended => e
        ended = now.call
        print e.class
        print " ", ended - killer.value if killer
        $stdout.flush
        exit!
      end
    RUBY
  end

  # The locked file.
  def lock
    @lock ||= Tempfile.new.tap { |file| file.flock(File::LOCK_EX) }
  end

  # Ruby runs the handler when the append is about to wait: it has just validated its data.
  it "may append to the same stream in its handler, before the request of the main thread has begun" do
    faults.on("POST") { |reply| reply.respond(204, "", **FaultHelpers::OFFSET) }
    ended = ChildProcess.program(<<~RUBY, faults.url)
      stream = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: "application/json")
      handled = 0
      trap("USR1") { stream.append(handled += 1) }
      kill = "sleep(0.005) while Process.kill(:USR1, \#{$$})"
      killer = Process.spawn(RbConfig.ruby, "--disable=gems", "-e", kill)
      large = "[\#{"1," * 4_000_000}1]"
      5.times { stream.append(large) }
      Process.kill(:KILL, killer)
      Process.wait(killer)
      print handled.positive?
    RUBY
    expect(ended.output).to eq("true")
  end

  {
    "a head" => "stream.head",
    "an append" => "stream.append(1)",
    "a read" => "stream.read_json.to_a",
    "a live read" => "stream.read_json(live: :long_poll).first",
    "an append that waits for another one" => <<~RUBY,
      other = Thread.new { stream.append(0) }
      Thread.pass until other.stop?
      stream.append(1)
    RUBY
    "a producer's flush" => "producer << 1; producer.flush",
    "a producer's append!" => "producer.append!(1)"
  }.each do |name, call|
    { "INT" => "Interrupt", "USR1" => "Ended" }.each do |signal, exception|
      it "ends #{name} at once by SIG#{signal}" do
        child = start(call)
        faults.wait_for_request
        child.signal(signal)
        ended = child.ended
        expect(ended.output).to eq(exception)
        expect(ended.took).to be < AtOnce::SECONDS
      end
    end
  end

  # The signal arrives at different times: before the wait, at its start, during it. Ruby's handler may run on the
  # thread that sends the signal.
  it "ends a head at once when the program signals itself, in processes that compete for the processor" do
    lock # Here, so that the threads do not make several, of which the GC deletes all but one.
    run = -> { start("stream.head", signal: "INT").ended.output }
    outputs = Array.new(4) { Thread.new { Array.new(5) { run.call } } }.flat_map(&:value)
    expect(outputs).to all(match(/\AInterrupt \d/))
    expect(outputs.map { |output| output.split.last.to_f }.max).to be < AtOnce::SECONDS
  end
end
