# frozen_string_literal: true

# A process ends at once when its program ends, and prints nothing, whatever the library is doing.
RSpec.describe "The end of a process" do
  # Seconds. Less than the five that an exit may wait for producers and callbacks.
  let(:at_once) { [AtOnce::SECONDS, 4].min }
  let(:faults) { FaultServer.shared }

  before do
    faults.on("GET") { |reply| reply.wait("never") }
    faults.on("GET", "/begun") { |reply| reply.head(200, "stream-next-offset" => "1").chunk("[1,").wait("never") }
    faults.on("POST") do |reply|
      reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
    end
  end

  # Blocked readers, one reader in the middle of a response, an idle producer with a callback (so that the callback
  # thread runs), and value callables.
  busy = <<~RUBY
    client = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Token" => -> { "t" } })
    stream = client.stream("/s", content_type: "application/json")
    3.times { |i| Thread.new { stream.read(live: i.odd? ? :sse : :long_poll).each {} }.report_on_exception = false }
    (begun = client.stream("/begun", content_type: "application/json").read_json).next
    producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: ->(*) {})
    producer.append!(1)
    Thread.new { loop { stream.append(2) } }.report_on_exception = false
    $stdout.syswrite("busy")
    $stdin.gets
  RUBY

  def run(source, &interfere)
    ended = ChildProcess.program(source, faults.url) do |child|
      child.wait_for(/busy/)
      faults.wait_for_request(4, method: "GET")
      interfere ? interfere.call(child) : child.write("go\n")
    end
    expect(ended.took).to be < at_once
    ended
  end

  { "the end of the program" => ["", 0], "exit" => ["exit(3)", 3], "exit!" => ["exit!(3)", 3],
    "exit in a thread" => ["Thread.new { exit(3) }.join", 3],
    "closing everything first" => ["producer.close; client.close; exit(3)", 3],
    "exit in an at_exit block" => ["at_exit { exit(3) }", 3] }.each do |name, (code, status)|
    it "comes at once after #{name}" do
      ended = run(busy + code)
      expect([ended.status.exitstatus, ended.output]).to eq([status, "busy"])
    end
  end

  it "comes at once after abort" do
    ended = run("#{busy}abort(\"enough\")")
    expect([ended.status.exitstatus, ended.output]).to eq([1, "busyenough\n"])
  end

  it "comes at once after an uncaught exception" do
    ended = run("#{busy}raise(\"enough\")")
    expect(ended.status.exitstatus).to eq(1)
    expect(ended.output).to match(/\Abusy-e:\d+:in [`'](?:Object#)?<main>': enough \(RuntimeError\)\n\z/)
  end

  %w[TERM HUP INT].each do |signal|
    it "comes at once after SIG#{signal}" do
      ended = run(busy) { |child| child.signal(signal) }
      expect(ended.status.termsig).to eq(Signal.list[signal])
      expect(ended.output.lines.grep(/BUG|panic|warn/i)).to be_empty
    end
  end

  [["Producer.open", "DurableStreams::Producer.open(stream: stream, producer_id: 'p') { |producer| %s }"],
   ["a close in an ensure block", <<~RUBY]].each do |name, code|
     producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
     begin
       %s
     ensure
       producer.close
     end
   RUBY
    it "does not wait for long for a thread in #{name} during an outage" do
      faults.next("POST") { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
      faults.on("POST") { |reply| reply.wait("never") }
      faults.on("HEAD") { |reply| reply.respond(200, "", "stream-next-offset" => "0") }
      program = <<~RUBY
        client = DurableStreams::Client.new(base_url: ARGV[0])
        stream = client.stream("/s", content_type: "application/json")
        Thread.new { #{format(code, "producer.append!(1); producer << 2; $stdout.syswrite('busy'); sleep")} }
        $stdin.gets
      RUBY
      ended = ChildProcess.program(program, faults.url) do |child|
        child.wait_for(/busy/)
        child.write("go\n")
      end
      expect(ended.took).to be < (5 + 5 + AtOnce::SECONDS)
      expect(ended.output).to include("1 appended messages did not reach").and match(/timeout of close has passed/)
    end
  end

  it "comes at once while the main thread waits" do
    ended = run(busy.sub("$stdin.gets", "stream.read(live: :long_poll).each {}")) { |child| child.signal("TERM") }
    expect(ended.status.termsig).to eq(Signal.list["TERM"])
    expect(ended.output.lines.grep(/BUG|panic|warn/i)).to be_empty
  end

  # at_exit blocks run in reverse order: one of these runs before the library's own and one after it.
  it "lets at_exit blocks use the library, in any order" do
    source = <<~RUBY
      at_exit { $stdout.syswrite(" after:\#{$late.append(4).next_offset}") }
      #{busy}
      $late = stream
      at_exit { $stdout.syswrite(" before:\#{stream.append(3).next_offset}") }
    RUBY
    expect(run(source).output).to eq("busy before:1 after:1")
  end

  it "runs a finalizer of a stream" do
    source = <<~RUBY
      #{busy}
      ObjectSpace.define_finalizer(stream, ->(_) { $stdout.syswrite(" finalized") })
    RUBY
    expect(run(source).output).to eq("busy finalized")
  end

  it "comes at once while a fiber waits in a scheduler that no longer runs" do
    source = <<~RUBY
      require #{File.expand_path("../support/small_scheduler", __dir__).inspect}
      #{busy}
      Thread.new do
        Fiber.set_scheduler(SmallScheduler.new)
        Fiber.schedule { client.stream("/other").head }
      end
    RUBY
    faults.on("HEAD", "/other") { |reply| reply.wait("never") }
    expect(run(source).output).to eq("busy")
  end

  it "finds no thread started in a process that sends no request" do
    ended = ChildProcess.program(<<~RUBY)
      DurableStreams::Client.new(base_url: "http://localhost").stream("/s").read_json(live: :sse).close
      GC.start
      p Thread.list.size, Dir["/proc/self/task/*/comm"].map { |file| File.read(file) }.grep(/durable/)
    RUBY
    expect(ended.output).to eq("1\n[]\n")
  end
end
