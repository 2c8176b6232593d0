# frozen_string_literal: true

require "timeout"

# A thread computes headers for requests that it waits for, and for no others. What happens to it meanwhile is its own,
# also where its request carries other threads' appends as well (`batching: :shared_values`).
RSpec.describe "A thread that computes a header" do
  include_context "with a client of the fault server"

  after { faults.open("first") }

  it "computes it for its own requests only, however many threads use the handle" do
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
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
    meant_for = faults.requests.map { |request| request.header("Stream-Seq") || request.params["offset"] }
    expect(meant_for.zip(faults.requests.map { |request| request.header("X-By") })).to all(
      satisfy { |whose, by| whose.start_with?(by) }
    )
  end

  # Two appends wait behind a first one, and so go out together. The thread that is asked for the header runs `asked`.
  def two_riding(append: ->(stream) { stream.append(1) }, &asked)
    @here = Thread::Queue.new
    token = lambda do
      next "t" unless Thread.current[:rides]

      @here << Thread.current
      Thread.current[:rides] == :first ? asked.call : "t"
    end
    stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token },
                                 batching: :shared_values)
    hold_first_answer
    @before = waiting { stream.append(0) }
    faults.wait_for_request
    @first = waiting(:first) { append.call(stream) }
    @second = waiting(:second) { stream.append(2).next_offset }
    faults.open("first")
  end

  def hold_first_answer
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
    faults.next do |reply|
      reply.wait("first")
      reply.respond(200, "", "stream-next-offset" => "0")
    end
  end

  # A thread, when it has come to where it waits.
  def waiting(rides = nil)
    thread = Thread.new do
      Thread.current[:rides] = rides
      yield
    end
    thread.report_on_exception = false
    Thread.pass until thread.stop?
    thread
  end

  def expect_the_others_through
    expect(@second.value).to eq("1")
    expect(@here.pop).to be(@second)
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
    it "gets a #{name} that is meant for it, and the others' appends go on" do
      two_riding { Thread.stop }
      expect(@here.pop).to be(@first)
      Thread.pass until @first.stop?
      act.call(@first)
      # However long another may take: nobody else is waited for.
      expected ? expect { @first.value }.to(raise_error(expected, "enough")) : expect(@first.value).to(be_nil)
      expect_the_others_through
    end
  end

  { "Timeout::Error" => nil, "an error of one's own" => mine }.each do |name, error|
    it "gets its own Timeout (#{name}), and the others' appends go on" do
      append = ->(stream) { Timeout.timeout(5, *error) { stream.append(1) } }
      two_riding(append: append) { Thread.stop }
      expect(@here.pop).to be(@first)
      expect { @first.value }.to raise_error(error || Timeout::Error)
      expect_the_others_through
    end
  end

  it "does not get the Timeout of another thread" do
    ended = Thread::Queue.new
    append = ->(stream) { stream.append(1).next_offset }
    two_riding(append: append) { ended.pop }
    expect(@here.pop).to be(@first)
    @second.raise(Timeout::Error, "enough")
    expect { @second.value }.to raise_error(Timeout::Error, "enough")
    ended << "t"
    expect(@first.value).to eq("1")
  end

  it "raises what the callable raises, and asks the others for their own" do
    two_riding { raise mine, "no token" }
    expect { @first.value }.to raise_error(mine, "no token")
    expect(@here.pop).to be(@first)
    expect_the_others_through
  end

  it "gets an interrupt in the callable, which may rescue it" do
    rescued = Thread::Queue.new
    append = ->(stream) { stream.append(1).next_offset }
    two_riding(append: append) do
      Thread.stop
    rescue mine => e
      rescued << e
      "t"
    end
    expect(@here.pop).to be(@first)
    Thread.pass until @first.stop?
    @first.raise(mine)
    expect(rescued.pop).to be_a(mine)
    expect([@first.value, @second.value]).to eq(%w[1 1])
    expect(faults.requests(method: "POST").map(&:body)).to eq(["[0]", "[1,2]"])
  end

  it "gets interrupts that come in the middle of a read, which then goes on" do
    blocking = true
    here = Thread::Queue.new
    token = lambda do
      here << true
      Thread.stop if blocking
      "t"
    end
    faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
    reader = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token }).read
    thread = waiting { reader.next }
    here.pop
    Thread.pass until thread.stop?
    # This one waits for its turn to take from the same reader, and is asked when it has come.
    other = waiting { reader.next.items }
    blocking = false
    thread.raise(mine, "enough")
    expect { thread.value }.to raise_error(mine, "enough")
    expect(other.value).to eq([1])
  end

  %w[TERM INT].each do |signal|
    it "as the main one gets SIG#{signal}, and the process ends by it" do
      hold_first_answer
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        main = Thread.current
        riding = false
        token = lambda do
          if riding && Thread.current == main
            $stdout.syswrite("here")
            Thread.stop
          end
          "t"
        end
        stream = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Token" => token })
                                       .stream("/s", content_type: "application/json", batching: :shared_values)
        Thread.new { stream.append(0) }
        $stdin.gets
        riding = true
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
