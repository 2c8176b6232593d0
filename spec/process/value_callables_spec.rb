# frozen_string_literal: true

require "timeout"

# A thread runs value callables for requests that it waits for, and for no others. An interrupt during that affects this
# thread only, even if its request also carries other threads' appends (`batching: :shared_values`).
RSpec.describe "A thread that computes a header" do
  include_context "with a client of the fault server"

  after { faults.open("first") }

  it "computes it for its own requests only while many threads use the handle" do
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "~", "stream-up-to-date" => "true") }
    stream = client.stream("/s", content_type: "application/json", headers: { "X-By" => -> { Thread.current.name } })
    threads = Array.new(4) do |index|
      Thread.new do
        Thread.current.name = "thread-#{index}"
        20.times do |number|
          stream.append(number, seq: "thread-#{index}-#{number}")
          stream.read(offset: "thread-#{index}").to_a
        end
      end
    end
    threads.each(&:join)
    senders = faults.requests.map { |request| request.header("Stream-Seq") || request.params["offset"] }
    expect(senders.zip(faults.requests.map { |request| request.header("X-By") })).to all(
      satisfy { |sender, by| sender.start_with?(by) }
    )
  end

  # Two appends wait for a first one and so share a request. The thread that computes its header runs the block.
  def share_request(append: ->(stream) { stream.append(1) }, &compute)
    @computing = Thread::Queue.new
    token = lambda do
      next "t" unless Thread.current[:shares]

      @computing << Thread.current
      Thread.current[:shares] == :first ? compute.call : "t"
    end
    stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token },
                                 batching: :shared_values)
    delay_first_response
    @before = waiting { stream.append(0) }
    faults.wait_for_request
    @first = waiting(:first) { append.call(stream) }
    @second = waiting(:second) { stream.append(2).next_offset }
    faults.open("first")
  end

  def delay_first_response
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
    faults.next do |reply|
      reply.wait("first")
      reply.respond(200, "", "stream-next-offset" => "0")
    end
  end

  # Runs the block in a new thread and returns the thread once it waits.
  def waiting(shares = nil)
    thread = Thread.new do
      Thread.current[:shares] = shares
      yield
    end
    thread.report_on_exception = false
    Thread.pass until thread.stop?
    thread
  end

  def expect_others_delivered
    expect(@second.value).to eq("1")
    expect(@computing.pop).to be(@second)
    @before.join
    expect(faults.requests(method: "POST").map(&:body)).to eq(["[0]", "[2]"])
  end

  mine = Class.new(StandardError)
  interrupts = {
    "Thread#raise of a StandardError" => [->(thread) { thread.raise(mine, "enough") }, mine],
    "Thread#raise of another exception" => [->(thread) { thread.raise(NoMemoryError, "enough") }, NoMemoryError],
    "Thread#kill" => [lambda(&:kill), nil]
  }
  interrupts.each do |name, (act, expected)|
    it "ends by #{name}, and the other appends are delivered" do
      share_request { Thread.stop }
      expect(@computing.pop).to be(@first)
      Thread.pass until @first.stop?
      act.call(@first)
      # The interrupted thread does not wait for the others.
      expected ? expect { @first.value }.to(raise_error(expected, "enough")) : expect(@first.value).to(be_nil)
      expect_others_delivered
    end
  end

  { "Timeout::Error" => nil, "a custom error" => mine }.each do |name, error|
    it "ends by its own Timeout (#{name}), and the other appends are delivered" do
      append = ->(stream) { Timeout.timeout(5, *error) { stream.append(1) } }
      share_request(append: append) { Thread.stop }
      expect(@computing.pop).to be(@first)
      expect { @first.value }.to raise_error(error || Timeout::Error)
      expect_others_delivered
    end
  end

  it "is not affected by the Timeout of another thread" do
    ended = Thread::Queue.new
    append = ->(stream) { stream.append(1).next_offset }
    share_request(append: append) { ended.pop }
    expect(@computing.pop).to be(@first)
    @second.raise(Timeout::Error, "enough")
    expect { @second.value }.to raise_error(Timeout::Error, "enough")
    ended << "t"
    expect(@first.value).to eq("1")
  end

  it "raises the callable's error, and another thread then computes the header" do
    share_request { raise mine, "no token" }
    expect { @first.value }.to raise_error(mine, "no token")
    expect(@computing.pop).to be(@first)
    expect_others_delivered
  end

  it "is interrupted in the callable, which may rescue the exception" do
    rescued = Thread::Queue.new
    append = ->(stream) { stream.append(1).next_offset }
    share_request(append: append) do
      Thread.stop
    rescue mine => e
      rescued << e
      "t"
    end
    expect(@computing.pop).to be(@first)
    Thread.pass until @first.stop?
    @first.raise(mine)
    expect(rescued.pop).to be_a(mine)
    expect([@first.value, @second.value]).to eq(%w[1 1])
    expect(faults.requests(method: "POST").map(&:body)).to eq(["[0]", "[1,2]"])
  end

  it "is interrupted in the middle of a read, which another thread then continues" do
    blocking = true
    computing = Thread::Queue.new
    token = lambda do
      computing << true
      Thread.stop if blocking
      "t"
    end
    faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
    reader = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token }).read
    thread = waiting { reader.next }
    computing.pop
    Thread.pass until thread.stop?
    # This thread waits for the reader lock of the same reader, and computes the header once it has the lock.
    other = waiting { reader.next.items }
    blocking = false
    thread.raise(mine, "enough")
    expect { thread.value }.to raise_error(mine, "enough")
    expect(other.value).to eq([1])
  end

  it "may append in a trap handler while its own append waits to be sent with others" do
    delay_first_response
    ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
      stream = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Token" => -> { "t" } })
                                     .stream("/s", content_type: "application/json", batching: :shared_values)
      main = Thread.current
      print_once_waiting = lambda do |text|
        Thread.new do
          Thread.pass until main.stop?
          $stdout.syswrite(text)
        end
      end
      trap("USR1") do
        print_once_waiting.call("handling ")
        stream.append(2)
      end
      first = Thread.new { stream.append(0) }
      $stdin.gets
      print_once_waiting.call("waiting ")
      stream.append(1)
      first.join
      $stdout.syswrite("done")
    RUBY
      faults.wait_for_request
      child.write("go\n")
      child.wait_for(/waiting /)
      child.signal("USR1")
      child.wait_for(/handling /)
      faults.open("first")
    end
    expect(ended.output).to eq("waiting handling done")
    expect(faults.requests(method: "POST").map(&:body)).to eq(["[0]", "[2]", "[1]"])
  end

  %w[TERM INT].each do |signal|
    it "ends by SIG#{signal} if it is the main thread, and so does the process" do
      delay_first_response
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        main = Thread.current
        sharing = false
        token = lambda do
          if sharing && Thread.current == main
            $stdout.syswrite("here")
            Thread.stop
          end
          "t"
        end
        stream = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Token" => token })
                                       .stream("/s", content_type: "application/json", batching: :shared_values)
        Thread.new { stream.append(0) }
        $stdin.gets
        sharing = true
        Thread.new do
          Thread.pass until main.stop?
          other = Thread.new do
            stream.append(2)
          rescue Exception => e
            $stdout.syswrite(" the other ended by \#{e.class}") unless $ending
          end
          Thread.pass until other.stop?
          $stdout.syswrite("waiting ")
        end
        begin
          stream.append(1)
        rescue SignalException
          $ending = true
          $stdout.syswrite(" signalled")
          raise
        end
      RUBY
        faults.wait_for_request
        child.write("go\n")
        child.wait_for(/waiting /)
        faults.open("first")
        child.wait_for(/here/)
        child.signal(signal)
      end
      expect(ended.output.lines.first.chomp).to start_with("waiting here signalled")
      expect(ended.status.termsig).to eq(Signal.list[signal])
    end
  end
end
