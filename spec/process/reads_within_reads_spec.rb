# frozen_string_literal: true

require "timeout"

# One call at a time takes what a reader brings, and others wait for their turn. A call that would wait for one that
# waits for it is told.
RSpec.describe "Reading a reader from within its own read", :faults do
  around { |example| Timeout.timeout(AtOnce::SECONDS, &example) }

  # A reader whose header is what the block says when it is given the reader.
  def reader_with(**options, &header)
    reader = nil
    headers = { "X-Token" => -> { header.call(reader).to_s } }
    reader = fault_client(**options).stream("/s", content_type: :json, headers: headers).read_json
  end

  # The stream has two items, each in an answer of its own.
  before do
    faults.on("GET") { |reply| reply.read("[2]", next_offset: "2") }
    faults.on("GET", nil, query: { "offset" => "-1" }) do |reply|
      reply.read("[1]", next_offset: "1", up_to_date: false)
    end
  end

  it "raises a ThreadError in the callable of a header, and the reader can be used afterwards" do
    within = true
    reader = reader_with { |same| within && same.first }
    expect { reader.to_a }.to raise_error(ThreadError, /already reading from this reader/)
    expect { reader.next }.to raise_error(ThreadError, /already reading from this reader/)
    within = false
    expect(reader.to_a).to eq([1, 2])
    expect(faults.requests.size).to eq(2)
  end

  ways = { "each" => :first.to_proc, "next" => :next.to_proc, "each_batch" => ->(reader) { reader.each_batch.first } }
  ways.each do |name, read|
    it "leaves the read alone where the callable rescues it, as often as it likes (#{name})" do
      errors = []
      reader = reader_with do |same|
        2.times do
          read.call(same)
        rescue ThreadError => e
          errors << e
        end
      end
      expect(reader.to_a).to eq([1, 2])
      expect(errors.size).to eq(4)
      expect(faults.requests.size).to eq(2)
    end
  end

  it "raises a ThreadError in the callable of another reader's header" do
    other = reader_with { |_| @reader.first }
    @reader = reader_with { |_| other.first }
    expect { @reader.first }.to raise_error(ThreadError)
  end

  it "raises a ThreadError in an ensure clause of the callable that an interrupt ends" do
    here = Thread::Queue.new
    raised = Thread::Queue.new
    reader = reader_with do |same|
      here << true
      sleep
    ensure
      begin
        same.first
      rescue ThreadError => e
        raised << e
      end
    end
    thread = Thread.new { reader.first }
    thread.report_on_exception = false
    here.pop
    Thread.pass until thread.stop?
    thread.raise(IOError, "enough")
    expect(raised.pop).to be_a(ThreadError)
    expect { thread.value }.to raise_error(IOError, "enough")
  end

  it "raises a ThreadError in another fiber that keeps that of the read from going on" do
    reader = reader_with { |same| Fiber.new { same.first }.resume }
    expect { reader.first }.to raise_error(ThreadError)
  end

  it "does not keep the callable from closing it" do
    reader = reader_with(&:close)
    expect(reader.to_a).to eq([])
  end

  it "is fine in another thread, which waits for its turn" do
    thread = nil
    reader = reader_with do |same|
      unless thread
        thread = in_thread { same.to_a }
        Thread.pass until thread.stop?
        raise IOError, "enough"
      end
    end
    expect { reader.next }.to raise_error(IOError, "enough")
    expect(thread.value).to eq([1, 2])
  end

  it "is fine in a forked child, which reads for itself" do
    here = Process.pid
    child = nil
    reader = reader_with do |same|
      child ||= ChildProcess.run { same.to_a } if Process.pid == here
    end
    expect(reader.to_a).to eq([1, 2])
    expect(child).to eq([1, 2])
  end

  if RUBY_VERSION >= "3.1"
    it "is fine in another fiber, which waits for its turn while the first goes on" do
      read = nil
      reader = reader_with do |same|
        unless read
          read = []
          Fiber.schedule { read << same.to_a }
          read << :waiting
          raise IOError, "enough"
        end
      end
      SmallScheduler.run do
        Fiber.schedule { expect { reader.next }.to raise_error(IOError, "enough") }
      end
      expect(read).to eq([:waiting, [1, 2]])
    end

    it "raises a ThreadError in the same fiber" do
      reader = reader_with(&:first)
      error = nil
      SmallScheduler.run do
        Fiber.schedule do
          reader.first
        rescue ThreadError => e
          error = e
        end
      end
      expect(error).to be_a(ThreadError)
    end
  end
end

RSpec.describe "Reading a reader in a trap handler", :faults do
  # A program that reads, and whose trap handler does as well, when it gets SIGUSR1. Yields when it waits for an
  # answer.
  # @return [String] what it prints
  def program_with_trap(source)
    faults.on("GET") { |reply| reply.wait("go").read("[1,2]", next_offset: "2") }
    ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
      $stdout.sync = true
      reader = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: :json).read_json
      other = nil
      trap("USR1") do
        p reader.first
      rescue ThreadError => e
        other&.kill&.join
        puts e.class
      end
      #{source}
    RUBY
      faults.wait_until_waiting("go")
      yield child if block_given?
      child.signal("USR1")
      child.wait_for(/ThreadError\n/)
      faults.open("go")
    end
    ended.output
  end

  it "raises a ThreadError where it interrupts the read, which then goes on" do
    expect(program_with_trap("p reader.to_a")).to eq("ThreadError\n[1, 2]\n")
    expect(faults.requests.size).to eq(1)
  end

  it "raises a ThreadError where it interrupts the wait for the turn" do
    output = program_with_trap(<<~RUBY) { |child| child.write("go\n") && child.wait_for(/waiting/) }
      other = Thread.new { reader.next }
      $stdin.gets
      main = Thread.current
      Thread.new do
        Thread.pass until main.stop?
        print "waiting "
      end
      p reader.to_a
    RUBY
    expect(output).to eq("waiting ThreadError\n[1, 2]\n")
  end

  if RUBY_VERSION >= "3.1"
    it "raises a ThreadError where it interrupts the scheduler of the fiber that reads" do
      output = program_with_trap(<<~RUBY)
        require #{File.expand_path("../support/small_scheduler", __dir__).inspect}
        Fiber.set_scheduler(SmallScheduler.new)
        Fiber.schedule { p reader.to_a }
      RUBY
      expect(output).to eq("ThreadError\n[1, 2]\n")
    end
  end
end
