# frozen_string_literal: true

require "fiddle"

# A client and all that was made with it works on in forked children, with connections of their own; what only one
# process can do, the child says.
RSpec.describe "Forking" do
  include_context "with a client of the fault server"

  let(:headers) { { "X-Process" => -> { Process.pid } } }
  let(:client_options) { { headers: headers } }

  def answer_everything
    faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
  end

  # Which processes talked over each connection.
  def talkers
    faults.requests.group_by(&:connection).transform_values do |requests|
      requests.map { |request| request.header("X-Process") }.uniq
    end
  end

  it "gives parent and children connections of their own, used at the same time" do
    answer_everything
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
    expect(talkers.values).to all(have_attributes(size: 1))
    expect(talkers.values.flatten.uniq.size).to eq(4)
  end

  it "works in a child of a child, and then in the parent that sent no request before" do
    answer_everything
    stream # made here, used there
    offset = ChildProcess.run { ChildProcess.run { stream.append(1).next_offset } }
    expect(offset).to eq("1")
    expect(stream.append(1).next_offset).to eq("1")
  end

  describe "a reader" do
    it "that is idle reads in parent and child" do
      answer_everything
      reader = stream.read_json
      expect(ChildProcess.run { reader.to_a }).to eq([1])
      expect(reader.to_a).to eq([1])
    end

    it "goes on from the place where it was, in parent and child alike" do
      faults.next("GET") { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1") }
      faults.on("GET", nil, query: { "offset" => "1" }) do |reply|
        reply.respond(200, "[2, 3]", "stream-next-offset" => "3", "stream-up-to-date" => "true")
      end
      reader = stream.read_json
      first = reader.next
      in_child = ChildProcess.run { reader.to_a }
      expect([first, in_child, reader.to_a]).to eq([1, [2, 3], [2, 3]])
    end

    it "that blocks another thread of the parent can be read and closed in the child" do
      faults.next("GET") { |reply| reply.wait("parent") }
      reader = stream.read_json(live: :long_poll)
      thread = Thread.new { reader.first }
      faults.wait_for_request
      answer_everything
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

  it "asks callables in a child while a thread of the parent waits on the same handle" do
    faults.next("HEAD") { |reply| reply.wait("parent") }
    thread = Thread.new { stream.head }
    faults.wait_for_request
    answer_everything
    expect(ChildProcess.run { [stream.head.next_offset, Process.pid.to_s] })
      .to match(["1", faults.wait_for_request(2).header("X-Process")])
    thread.kill.join
  end

  # Where the system tells one event descriptor from another.
  if RUBY_VERSION >= "3.1" && File.directory?("/proc/self/fdinfo")
    # Runs heads in a fiber, none of which is answered before the fiber waits for it. Says which event descriptors its
    # scheduler waited for.
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

    it "lets fibers wait in parent and child, in the very thread that forked, and none for what wakes the other" do
      SmallScheduler.run do |scheduler|
        before = events_of_heads(scheduler, "before")
        in_child = ChildProcess.run do
          # The parent's scheduler shares descriptors with it.
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

  it "leaves a producer to the parent, which sends everything once" do
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

  it "lets a child make producers of its own" do
    faults.on("POST") do |reply|
      reply.respond(200, "", "stream-next-offset" => "1", "producer-epoch" => "0", "producer-seq" => "0")
    end
    told = Thread::Queue.new
    make = lambda do |id|
      tell = ->(result, _) { told << result.next_offset }
      DurableStreams::Producer.new(stream: stream, producer_id: id, on_delivery: tell)
    end
    make.call("parent").append!(1)
    told.pop
    expect(ChildProcess.run do
      make.call("child").append!(1)
      told.pop
    end).to eq("1")
  end

  it "starts nothing in a child that does not use the library" do
    answer_everything
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

  it "works after a fork by C code, of which Ruby knows nothing" do
    answer_everything
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
    expect(talkers.values).to all(have_attributes(size: 1))
  end

  describe "a child's end" do
    # Seconds: less than the five that an exit may wait for what producers and callbacks have left to do.
    at_once = [AtOnce::SECONDS, 4].min

    # Runs in a program of its own, so that an exit is a real one.
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
      it "comes at once by #{name}, with open readers" do
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
