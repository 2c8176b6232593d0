# frozen_string_literal: true

require "zlib"

# The thread that waits for a read executes it on an inline runtime. Once that thread has data to work on, a thread of
# the runtime receives the rest of the response.
RSpec.describe "A response that is read before it is complete", :faults do
  let(:stream) { fault_stream }

  # Scripts a response with a single item: `item` is its number.
  def respond_with(item, up_to_date: false)
    faults.next("GET", nil, query: { "offset" => item == 1 ? "-1" : (item - 1).to_s }) do |reply|
      reply.read("[#{item}]", next_offset: item.to_s, up_to_date: up_to_date)
    end
  end

  # Scripts a response with one item at once and the rest when the gate is opened.
  def respond_in_two_parts(gate = "rest", up_to_date: true)
    faults.next("GET", nil, query: { "offset" => "-1" }) do |reply|
      reply.head(200, "content-type" => "application/json", "stream-next-offset" => "3",
                      "stream-up-to-date" => up_to_date.to_s)
      reply.chunk("[1,").wait(gate).chunk("2,3]").finish
    end
  end

  # A reader whose first item was read longer ago than the timeout. The rest of the response has arrived since.
  def idle_reader(**options)
    reader = fault_stream(timeout: 4, **options).read_json
    expect(reader.next).to eq(1)
    faults.open("rest")
    faults.wait_until_responded(1)
    sleep(5)
    reader
  end

  it "is received while no thread waits for it" do
    respond_in_two_parts
    reader = stream.read_json
    expect(reader.next).to eq(1)
    faults.open("rest")
    faults.wait_until_responded(1)
    expect(reader.to_a).to eq([2, 3])
  end

  it "does not time out because the application is slow" do
    respond_in_two_parts
    reader = idle_reader
    expect(reader.to_a).to eq([2, 3])
    expect(faults.requests.size).to eq(1)
  end

  # The first compressed bytes contain no whole item.
  it "does not time out because the application is slow and the rest is compressed" do
    random = Random.new(1)
    gzip = Zlib::Deflate.new(Zlib::DEFAULT_COMPRESSION, 31)
    first = gzip.deflate("[1,", Zlib::SYNC_FLUSH)
    rest = gzip.deflate("#{Array.new(1000) { random.rand(10**15) }.join(",")}]", Zlib::FINISH)
    faults.next("GET") do |reply|
      reply.head(200, "content-type" => "application/json", "content-encoding" => "gzip", "stream-next-offset" => "3",
                      "stream-up-to-date" => "true")
      reply.chunk(first).wait("rest").chunk(rest.byteslice(0, 3), size: 1).chunk(rest.byteslice(3..)).finish
    end
    reader = idle_reader(retries: { max_retries: 0 })
    expect(reader.to_a.size).to eq(1000)
  end

  if RUBY_VERSION >= "3.1"
    it "does not time out because the application is slow and continues in a fiber" do
      respond_in_two_parts
      reader = idle_reader(retries: { max_retries: 0 })
      items = nil
      SmallScheduler.run { Fiber.schedule { items = reader.to_a } }
      expect(items).to eq([2, 3])
    end

    it "is received in a fiber while other fibers run" do
      respond_in_two_parts
      reader = stream.read_json
      expect(reader.next).to eq(1)
      done = []
      SmallScheduler.run do
        Fiber.schedule { done << reader.to_a }
        Fiber.schedule do
          done << :other
          faults.open("rest")
        end
      end
      expect(done).to eq([:other, [2, 3]])
      expect(faults.requests.size).to eq(1)
    end
  end

  it "is received for many readers at the same time" do
    readers = Array.new(20) do
      respond_in_two_parts
      reader = stream.read_json
      expect(reader.next).to eq(1)
      reader
    end
    faults.open("rest")
    expect(readers.map(&:to_a)).to all(eq([2, 3]))
    expect(faults.requests.size).to eq(20)
  end

  it "is followed by the next response, which is read ahead" do
    [1, 2].each { |item| respond_with(item) }
    respond_with(3, up_to_date: true)
    reader = stream.read
    expect(reader.next.items).to eq([1])
    faults.wait_until_responded(2)
    expect(reader.flat_map(&:items)).to eq([2, 3])
  end

  # On Linux the limit of processes also limits threads.
  if RUBY_PLATFORM.include?("linux")
    it "is received by the next call if no thread can be started" do
      faults.next("HEAD") { |reply| reply.respond(200, "", **read_headers("0")) }
      respond_in_two_parts(up_to_date: false)
      faults.next("GET", nil, query: { "offset" => "3" }) { |reply| reply.read("[4]", next_offset: "4") }
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        stream = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: :json)
        stream.head # Starts the threads that the library always has.
        Process.setrlimit(:NPROC, 0)
        Process::UID.change_privilege(65_534) if Process.uid.zero? # The limit does not apply to the superuser.
        $stdout.sync = true
        p Process.getrlimit(:NPROC).first, Process.uid.zero?
        reader = stream.read_json
        p reader.next
        p reader.to_a
      RUBY
        child.wait_for(/1\n/)
        faults.open("rest")
      end
      expect(ended.output).to eq("0\nfalse\n1\n[2, 3, 4]\n")
      expect(faults.requests(method: "GET").size).to eq(2)
    end
  end

  { "its reader is closed" => ->(reader) { reader.next && reader.close },
    "its iteration is ended by break" => :first.to_proc }.each do |event, act|
    it "ends when #{event}" do
      respond_in_two_parts("never")
      act.call(stream.read_json)
      expect(faults.wait_until_closed(by: :client)).not_to be_nil
    end
  end

  it "ends when its reader is collected as garbage" do
    # Several readers in other threads: this thread's stack does not refer to them, and a single one may survive.
    5.times do
      respond_in_two_parts("never")
      Thread.new { stream.read_json.next }.join
    end
    GC.start
    expect(faults.wait_until_closed(by: :client)).not_to be_nil
  end

  it "raises ConnectionError when its connection is lost later" do
    broken = lambda do |reply|
      reply.head(200, "content-type" => "application/json", "stream-next-offset" => "3")
      reply.chunk("[1,").wait("rest").rst
    end
    faults.on("GET", &broken)
    reader = stream.read_json
    expect(reader.next).to eq(1)
    faults.open("rest")
    expect { reader.to_a }.to raise_error(DurableStreams::ConnectionError)
  end

  it "is requested again in a forked child, and continues in the parent" do
    respond_in_two_parts
    reader = stream.read_json
    expect(reader.next).to eq(1)
    faults.on("GET") { |reply| reply.read("[1,2,3]", next_offset: "3") }
    expect(ChildProcess.run { reader.to_a }).to eq([2, 3])
    faults.open("rest")
    expect(reader.to_a).to eq([2, 3])
    expect(faults.requests.size).to eq(2)
  end

  it "has its value callables run on the reading thread" do
    callers = []
    policy = DurableStreams::RetryPolicy.new(max_retries: 1, initial_delay: 0.001)
    client = DurableStreams::Client.new(base_url: faults.url, retry_policy: policy)
    headers = { "X-Token" => -> { callers.push(Thread.current).size.to_s } }
    respond_with(1)
    respond_with(2, up_to_date: true)
    reader = client.stream("/s", content_type: :json, headers: headers).read
    expect(reader.flat_map(&:items)).to eq([1, 2])
    expect(callers).to eq([Thread.current] * 2)
    expect(faults.requests.map { |request| request.header("x-token") }).to eq(%w[1 2])
    client.close
  end
end
