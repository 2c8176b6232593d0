# frozen_string_literal: true

require "zlib"

# A read is begun by the thread that waits for it. What of its answer is still to come when that thread has something to
# work on is left to another thread of the library's.
RSpec.describe "An answer that is read before it is complete", :faults do
  let(:stream) { fault_stream }

  # An answer of its own for each item, `item` being its number.
  def answer_with(item, up_to_date: false)
    faults.next("GET", nil, query: { "offset" => item == 1 ? "-1" : (item - 1).to_s }) do |reply|
      reply.read("[#{item}]", next_offset: item.to_s, up_to_date: up_to_date)
    end
  end

  # One item at once, the rest when the gate is opened.
  def answer_in_two(gate = "rest", up_to_date: true)
    faults.next("GET", nil, query: { "offset" => "-1" }) do |reply|
      reply.head(200, "content-type" => "application/json", "stream-next-offset" => "3",
                      "stream-up-to-date" => up_to_date.to_s)
      reply.chunk("[1,").wait(gate).chunk("2,3]").finish
    end
  end

  # A reader whose first item was taken longer ago than the server may be silent. The rest has come since.
  def reader_left_for_long(**options)
    reader = fault_stream(timeout: 4, **options).read_json
    expect(reader.next).to eq(1)
    faults.open("rest")
    faults.wait_until_responded(1)
    sleep(5)
    reader
  end

  it "goes on while nobody waits for it" do
    answer_in_two
    reader = stream.read_json
    expect(reader.next).to eq(1)
    faults.open("rest")
    faults.wait_until_responded(1)
    expect(reader.to_a).to eq([2, 3])
  end

  it "is not taken for lost when the application was slow" do
    answer_in_two
    reader = reader_left_for_long
    expect(reader.to_a).to eq([2, 3])
    expect(faults.requests.size).to eq(1)
  end

  # The first bytes of what is compressed are nothing to hand out yet.
  it "is not taken for lost when the application was slow and the rest is compressed" do
    random = Random.new(1)
    gzip = Zlib::Deflate.new(Zlib::DEFAULT_COMPRESSION, 31)
    first = gzip.deflate("[1,", Zlib::SYNC_FLUSH)
    rest = gzip.deflate("#{Array.new(1000) { random.rand(10**15) }.join(",")}]", Zlib::FINISH)
    faults.next("GET") do |reply|
      reply.head(200, "content-type" => "application/json", "content-encoding" => "gzip", "stream-next-offset" => "3",
                      "stream-up-to-date" => "true")
      reply.chunk(first).wait("rest").chunk(rest.byteslice(0, 3), size: 1).chunk(rest.byteslice(3..)).finish
    end
    reader = reader_left_for_long(retries: { max_retries: 0 })
    expect(reader.to_a.size).to eq(1000)
  end

  if RUBY_VERSION >= "3.1"
    it "is not taken for lost when the application was slow and goes on in a fiber" do
      answer_in_two
      reader = reader_left_for_long(retries: { max_retries: 0 })
      items = nil
      SmallScheduler.run { Fiber.schedule { items = reader.to_a } }
      expect(items).to eq([2, 3])
    end

    it "goes on in a fiber, while other fibers do" do
      answer_in_two
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

  it "goes on for many readers at a time" do
    readers = Array.new(20) do
      answer_in_two
      reader = stream.read_json
      expect(reader.next).to eq(1)
      reader
    end
    faults.open("rest")
    expect(readers.map(&:to_a)).to all(eq([2, 3]))
    expect(faults.requests.size).to eq(20)
  end

  it "goes on with what comes after it, one answer ahead" do
    [1, 2].each { |item| answer_with(item) }
    answer_with(3, up_to_date: true)
    reader = stream.read
    expect(reader.next.items).to eq([1])
    faults.wait_until_responded(2)
    expect(reader.flat_map(&:items)).to eq([2, 3])
  end

  # That a limit of processes is one of threads as well is Linux's way.
  if RUBY_PLATFORM.include?("linux")
    it "goes on in the next call where the system refuses another thread" do
      faults.next("HEAD") { |reply| reply.respond(200, "", **read_headers("0")) }
      answer_in_two(up_to_date: false)
      faults.next("GET", nil, query: { "offset" => "3" }) { |reply| reply.read("[4]", next_offset: "4") }
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        stream = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: :json)
        stream.head # has all threads started that the library always has
        Process.setrlimit(:NPROC, 0)
        Process::UID.change_privilege(65_534) if Process.uid.zero? # whom it does not bind
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
    "its iteration is broken off" => :first.to_proc }.each do |event, act|
    it "ends when #{event}" do
      answer_in_two("never")
      act.call(stream.read_json)
      expect(faults.wait_until_closed(by: :client)).not_to be_nil
    end
  end

  it "ends when its reader is garbage" do
    # Nothing of them stays on this thread's stack. One may be kept by chance.
    5.times do
      answer_in_two("never")
      Thread.new { stream.read_json.next }.join
    end
    GC.start
    expect(faults.wait_until_closed(by: :client)).not_to be_nil
  end

  it "raises ConnectionError when it breaks off later" do
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

  it "is read anew in a forked child, and goes on in the parent" do
    answer_in_two
    reader = stream.read_json
    expect(reader.next).to eq(1)
    faults.on("GET") { |reply| reply.read("[1,2,3]", next_offset: "3") }
    expect(ChildProcess.run { reader.to_a }).to eq([2, 3])
    faults.open("rest")
    expect(reader.to_a).to eq([2, 3])
    expect(faults.requests.size).to eq(2)
  end

  it "asks callables on the reading thread at first, and whenever that waits" do
    asked = []
    policy = DurableStreams::RetryPolicy.new(max_retries: 1, initial_delay: 0.001)
    client = DurableStreams::Client.new(base_url: faults.url, retry_policy: policy)
    headers = { "X-Token" => -> { asked.push(Thread.current).size.to_s } }
    answer_with(1)
    answer_with(2, up_to_date: true)
    reader = client.stream("/s", content_type: :json, headers: headers).read
    expect(reader.flat_map(&:items)).to eq([1, 2])
    expect(asked).to eq([Thread.current] * 2)
    expect(faults.requests.map { |request| request.header("x-token") }).to eq(%w[1 2])
    client.close
  end
end
