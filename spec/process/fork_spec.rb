# frozen_string_literal: true

require "fiddle"

# A client and its streams and readers work in forked children, with separate connections. A producer works in the
# parent only: in the child it raises an error that says so.
RSpec.describe "Forking" do
  include_context "with a client of the fault server"

  let(:headers) { { "X-Process" => -> { Process.pid } } }
  let(:client_options) { { headers: headers } }

  def respond_to_everything
    faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
  end

  # The processes that used each connection.
  def processes_by_connection
    faults.requests.group_by(&:connection).transform_values do |requests|
      requests.map { |request| request.header("X-Process") }.uniq
    end
  end

  it "gives parent and children separate connections" do
    respond_to_everything
    stream.head
    children = Array.new(3) do
      ChildProcess.start do
        threads = Array.new(2) { Thread.new { 10.times { stream.append(1) } } }
        threads.each(&:join)
        stream.read_json.to_a
      end
    end
    10.times { stream.append(1) }
    expect(children.map(&:value)).to eq([[1]] * 3)
    expect(stream.read_json.to_a).to eq([1])
    expect(processes_by_connection.values).to all(have_attributes(size: 1))
    expect(processes_by_connection.values.flatten.uniq.size).to eq(4)
  end

  it "works in a child of a child, and then in the parent that had sent no request" do
    respond_to_everything
    stream # Created in the parent, used in the child.
    offset = ChildProcess.run { ChildProcess.run { stream.append(1).next_offset } }
    expect(offset).to eq("1")
    expect(stream.append(1).next_offset).to eq("1")
  end

  describe "with a reader" do
    it "reads an idle reader in parent and child" do
      respond_to_everything
      reader = stream.read_json
      expect(ChildProcess.run { reader.to_a }).to eq([1])
      expect(reader.to_a).to eq([1])
    end

    it "continues at the reader's position in parent and child" do
      faults.next("GET") { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1") }
      faults.on("GET", nil, query: { "offset" => "1" }) do |reply|
        reply.respond(200, "[2, 3]", "stream-next-offset" => "3", "stream-up-to-date" => "true")
      end
      reader = stream.read_json
      first = reader.next
      in_child = ChildProcess.run { reader.to_a }
      expect([first, in_child, reader.to_a]).to eq([1, [2, 3], [2, 3]])
    end

    it "reads and closes a reader in the child while a thread of the parent waits for it" do
      faults.next("GET") { |reply| reply.wait("parent") }
      reader = stream.read_json(live: :long_poll)
      thread = Thread.new { reader.first }
      faults.wait_for_request
      respond_to_everything
      child = ChildProcess.run do
        item = reader.next
        reader.close
        [item, reader.closed?]
      end
      expect(child).to eq([1, true])
      faults.next("GET") { |reply| reply.respond(200, "[2]", "stream-next-offset" => "1") }
      reader.close
      expect(thread.value).to be_nil
    end
  end

  it "runs value callables in a child while a thread of the parent waits on the same handle" do
    faults.next("HEAD") { |reply| reply.wait("parent") }
    thread = Thread.new { stream.head }
    faults.wait_for_request
    respond_to_everything
    expect(ChildProcess.run { [stream.head.next_offset, Process.pid.to_s] })
      .to match(["1", faults.wait_for_request(2).header("X-Process")])
    thread.kill.join
  end

  # Only where the operating system tells event descriptors apart.
  if RUBY_VERSION >= "3.1" && File.directory?("/proc/self/fdinfo")
    # Sends HEAD requests in a fiber. Each gets its response only once the fiber waits for it. Returns the event
    # descriptors for which the scheduler waited.
    def events_of_heads(scheduler, stage)
      gates = Array.new(2) { |n| "#{stage} #{n}" }
      gates.each { |gate| faults.next("HEAD") { |reply| reply.wait(gate).respond(200, "", **FaultHelpers::OFFSET) } }
      events = []
      scheduler.define_singleton_method(:io_wait) do |io, *how|
        event = File.read("/proc/self/fdinfo/#{io.fileno}")[/eventfd-id:\s*(\d+)/, 1]
        events << event if event
        super(io, *how)
      end
      opening = Thread.new do
        gates.each_with_index do |gate, n|
          Thread.pass until events.size > n
          faults.open(gate)
        end
      end
      Fiber.schedule { gates.each { stream.head } }
      scheduler.run
      opening.join
      events.uniq
    end

    it "gives fibers in parent and child separate notifiers, also in the thread that forked" do
      SmallScheduler.run do |scheduler|
        before = events_of_heads(scheduler, "before")
        in_child = ChildProcess.run do
          # The parent's scheduler shares its descriptors with the child.
          scheduler.forget
          events_of_heads(SmallScheduler.new.tap { |own| Fiber.set_scheduler(own) }, "in the child")
        end
        expect(before.size).to eq(1)
        expect(in_child.size).to eq(1)
        expect(in_child).not_to eq(before)
        expect(events_of_heads(scheduler, "after")).to eq(before)
      end
    end
  end

  it "leaves a producer usable in the parent only, which sends everything once" do
    faults.on("POST") do |reply|
      reply.wait("go")
      reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
    end
    producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", linger_ms: 0)
    producer.append(1)
    faults.wait_for_request
    errors = ChildProcess.run do
      calls = [-> { producer.append(2) }, -> { producer.flush }, -> { producer.append!(2) }, -> { producer.close },
               -> { producer.close_stream }]
      calls.map do |call|
        call.call
      rescue DurableStreams::ProducerError => e
        e.message[/made before the process forked/]
      end
    end
    expect(errors).to eq(["made before the process forked"] * 5)
    faults.open("go")
    producer.close
    expect(faults.requests(method: "POST").map(&:body)).to eq(["[1]"])
  end

  it "lets a child create producers" do
    faults.on("POST") do |reply|
      reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
    end
    delivered = Thread::Queue.new
    make = lambda do |id|
      callback = ->(result, _) { delivered << result.next_offset }
      DurableStreams::Producer.new(stream: stream, producer_id: id, on_delivery: callback)
    end
    make.call("parent").append!(1)
    delivered.pop
    expect(ChildProcess.run do
      make.call("child").append!(1)
      delivered.pop
    end).to eq("1")
  end

  it "starts no thread in a child that sends no request" do
    respond_to_everything
    stream.head
    counts = ChildProcess.run do
      count = -> { File.exist?("/proc/self/task") ? Dir.children("/proc/self/task").size : 0 }
      before = count.call
      100.times { DurableStreams::Client.new(base_url: faults.url).close }
      client.close
      GC.start
      [before, count.call]
    end
    expect(counts.uniq.size).to eq(1)
  end

  it "works after a fork by C code that bypasses Ruby" do
    respond_to_everything
    ended = ChildProcess.program(<<~RUBY, faults.url)
      require "fiddle"
      client = DurableStreams::Client.new(base_url: ARGV.first)
      stream = client.stream("/s", content_type: "application/json", headers: { "X-Process" => -> { Process.pid } })
      reader = stream.read_json
      stream.append(1)
      fork = Fiddle::Function.new(Fiddle.dlopen(nil)["fork"], [], Fiddle::TYPE_INT, need_gvl: true)
      if (pid = fork.call).zero?
        stream.append(2)
        $stdout.syswrite(reader.to_a.inspect)
        Process.exit!(0)
      end
      Process.wait(pid)
      stream.append(3)
      puts " \#{$?.exitstatus}"
    RUBY
    expect(ended.output).to eq("[1] 0\n")
    expect(processes_by_connection.values).to all(have_attributes(size: 1))
  end

  {
    "a live read" => "stream.read_json(live: :long_poll).first",
    "a wait for another thread's read" => <<~RUBY,
      reader = stream.read_json(live: :long_poll)
      other = Thread.new { reader.close && Thread.stop if reader.first }
      Thread.pass until other.stop?
      reader.first
    RUBY
    "a producer's flush" => "producer << 1; producer.flush",
    "a producer's append!" => "producer.append!(1)",
    "an append" => "stream.append(1)"
  }.each do |name, call|
    it "raises an error in a child that a trap handler forks during #{name}, which continues in the parent" do
      headers = { **FaultHelpers::OFFSET, "stream-cursor" => "1", "producer-epoch" => "0" }
      faults.on { |reply| reply.wait("go").respond(200, "[1]", **headers) }
      program = <<~RUBY
        $stdout.sync = true
        stream = DurableStreams::Client.new(base_url: ARGV.first).stream("/s", content_type: :json)
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", next_seq: 0)
        child = nil
        trap("USR1") { child = fork }
        begin
          #{call}
        rescue DurableStreams::ConnectionError => e
          puts e.message
          exit!
        end
        Process.wait(child)
        puts "parent"
      RUBY
      ended = ChildProcess.program(program, faults.url) do |child|
        faults.wait_for_request
        child.signal("USR1")
        child.wait_for(/process forked/)
        faults.open("go")
      end
      expect(ended.output).to match(/\A.*the process forked during this operation.*\nparent\n\z/)
    end
  end

  describe "a child's end" do
    # Seconds. Less than the five that an exit may wait for producers and callbacks.
    at_once = [AtOnce::SECONDS, 4].min

    # Runs in a new program, so that it can exit.
    prelude = <<~RUBY
      $stdout.sync = true
      AT_ONCE = #{at_once}
      client = DurableStreams::Client.new(base_url: ARGV.first)
      stream = client.stream("/s", content_type: "application/json")
      reader = stream.read(live: :long_poll)
      Thread.new { reader.each {} }.report_on_exception = false
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p")
      $stdin.gets
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      finish = lambda do |pid|
        Process.wait(pid)
        puts "\#{$?.exitstatus.inspect} \#{(Process.clock_gettime(Process::CLOCK_MONOTONIC) - started) < AT_ONCE}"
        exit!(0)
      end
      use = lambda do
        stream.append(1)
        other = stream.read(live: :sse)
        Thread.new { other.each {} }.report_on_exception = false
        [reader, other]
      end
    RUBY

    { "exit" => "pid = fork { use.call; exit(3) }; finish.call(pid)",
      "exit!" => "pid = fork { use.call; exit!(3) }; finish.call(pid)",
      "exit without having used anything" => "pid = fork { exit(3) }; finish.call(pid)",
      "Process.daemon" => "Process.daemon(true, true); use.call; puts '3 true'; exit(3)" }.each do |name, code|
      it "comes at once after #{name}, with open readers" do
        faults.on("POST") { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
        faults.on("GET") { |reply| reply.wait("never") }
        ended = ChildProcess.program(prelude + code, faults.url, options: []) do |child|
          faults.wait_for_request
          child.write("go\n")
        end
        expect(ended.output).to eq("3 true\n")
        expect(ended.took).to be < at_once
      end
    end
  end
end
