# frozen_string_literal: true

require "timeout"

# One call at a time takes from a reader: it has the reader lock, and others wait for that lock. A call that would wait
# for itself raises ThreadError.
RSpec.describe "Reading a reader from within its own read", :faults do
  around { |example| Timeout.timeout(AtOnce::SECONDS, &example) }

  # A reader with a header whose value is computed by the block, which gets the reader.
  def reader_with(**options, &header)
    reader = nil
    headers = { "X-Token" => -> { header.call(reader).to_s } }
    reader = fault_client(**options).stream("/s", content_type: :json, headers: headers).read_json
  end

  # The stream has two items, each in its own response.
  before do
    faults.on("GET") { |reply| reply.read("[2]", next_offset: "2") }
    faults.on("GET", nil, query: { "offset" => "-1" }) do |reply|
      reply.read("[1]", next_offset: "1", up_to_date: false)
    end
  end

  it "raises ThreadError in the callable of a header, and the reader is usable afterwards" do
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
    it "does not affect the read if the callable rescues the error (#{name})" do
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

  it "raises ThreadError in the callable of another reader's header" do
    other = reader_with { |_| @reader.first }
    @reader = reader_with { |_| other.first }
    expect { @reader.first }.to raise_error(ThreadError)
  end

  it "raises ThreadError in an ensure clause of the callable after an interrupt" do
    entered = Thread::Queue.new
    raised = Thread::Queue.new
    reader = reader_with do |same|
      entered << true
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
    entered.pop
    Thread.pass until thread.stop?
    thread.raise(IOError, "enough")
    expect(raised.pop).to be_a(ThreadError)
    expect { thread.value }.to raise_error(IOError, "enough")
  end

  it "raises ThreadError in another fiber on which the reading fiber waits" do
    reader = reader_with { |same| Fiber.new { same.first }.resume }
    expect { reader.first }.to raise_error(ThreadError)
  end

  it "lets the callable close the reader" do
    reader = reader_with(&:close)
    expect(reader.to_a).to eq([])
  end

  it "waits for the reader lock in another thread" do
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

  it "reads separately in a forked child" do
    parent = Process.pid
    child = nil
    reader = reader_with do |same|
      child ||= ChildProcess.run { same.to_a } if Process.pid == parent
    end
    expect(reader.to_a).to eq([1, 2])
    expect(child).to eq([1, 2])
  end

  if RUBY_VERSION >= "3.1"
    it "waits for the reader lock in another fiber while the first continues" do
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

    it "raises ThreadError in the same fiber" do
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
  # Runs a program that reads and whose trap handler for SIGUSR1 reads from the same reader. Yields while the program
  # waits for a response, then sends the signal.
  # @return [String] the program's output
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

  it "raises ThreadError if it interrupts the read, which then continues" do
    expect(program_with_trap("p reader.to_a")).to eq("ThreadError\n[1, 2]\n")
    expect(faults.requests.size).to eq(1)
  end

  it "raises ThreadError if it interrupts the wait for the reader lock" do
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
    it "raises ThreadError if it interrupts the scheduler of the reading fiber" do
      output = program_with_trap(<<~RUBY)
        require #{File.expand_path("../support/small_scheduler", __dir__).inspect}
        Fiber.set_scheduler(SmallScheduler.new)
        Fiber.schedule { p reader.to_a }
      RUBY
      expect(output).to eq("ThreadError\n[1, 2]\n")
    end
  end
end
