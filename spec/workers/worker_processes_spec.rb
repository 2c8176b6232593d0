# frozen_string_literal: true

# A worker's process: signals, exit, forks and killed threads.
on_server_with_subscriptions DurableStreams::Worker, "in its process" do
  let(:id) { subscribe }
  let(:stream) { stream_of(id, body: 1) }
  let(:handled) { Queue.new }

  before { stream }

  # Runs a program with a `worker` of the subscription. Its block prints "working" and waits for ever.
  def program(source, on_id: id, &block)
    prologue = <<~RUBY
      $stdout.sync = true
      client = DurableStreams::Client.new(base_url: ARGV[0])
      worker = DurableStreams::Worker.new(client, [ARGV[1]])
      forever = proc { puts "working"; sleep }
    RUBY
    ChildProcess.program(prologue + source, server_url + SubscriptionHelpers::ROOT, on_id, &block)
  end

  # The lease would last 30 seconds.
  def expect_claim_given_back
    claim = subscriptions.claim(id, worker: "next")
    expect(claim.streams.first).to be_pending
    expect(claim.generation).to be > 1
  end

  it "gives its claim back on Ctrl-C, and ends by it" do
    ended = program("worker.run(&forever)") do |child|
      child.wait_for(/working/)
      child.signal(:INT)
    end
    expect([ended.status.termsig, ended.output]).to match([Signal.list["INT"], /Interrupt/])
    expect(ended.took).to be < AtOnce::SECONDS
    expect_claim_given_back
  end

  it "gives its claim back on SIGTERM without a handler" do
    ended = program("worker.run(&forever)") do |child|
      child.wait_for(/working/)
      child.signal(:TERM)
    end
    expect(ended.status.termsig).to eq(Signal.list["TERM"])
    expect_claim_given_back
  end

  it "finishes its block if a trap handler stops it" do
    ended = program(<<~RUBY) do |child|
      trap("TERM") { worker.stop }
      worker.run { |_, batch| puts "working"; $stdin.gets; puts "done" }
      puts "ended"
    RUBY
      child.wait_for(/working/)
      child.signal(:TERM)
      child.write("go on\n")
    end
    expect([ended.output, ended.status.success?]).to eq(["working\ndone\nended\n", true])
    wait_until_acked(id, stream)
    stream << 2
    expect_claim_given_back
  end

  it "gives its claim back when the process exits while it runs on a thread" do
    ended = program(<<~RUBY)
      at_exit { puts "exits" }
      began = Queue.new
      Thread.new { worker.run { began << 1; forever.call } }
      began.pop
    RUBY
    expect([ended.output, ended.status.success?]).to eq(["working\nexits\n", true]).or eq(["exits\nworking\n", true])
    expect(ended.took).to be < AtOnce::SECONDS
    expect_claim_given_back
  end

  it "gives its claim back when the process begins to exit before its threads have started" do
    program(<<~RUBY)
      entered, exits, started = Array.new(3) { Queue.new }
      TracePoint.new(:call) do |call|
        next unless call.self.equal?(worker)

        entered.push(1) && exits.pop if call.method_id == :work
        started.push(1) if call.method_id == :supervise
        exits.push(1) && started.pop if call.method_id == :wait_for_end
      end.enable
      Thread.new { worker.run(&forever) }
      entered.pop
    RUBY
    expect(subscriptions.claim(id, worker: "next").streams.first).to be_pending
  end

  it "ends the process if the block calls exit" do
    ended = program("worker.run { exit 3 }")
    expect(ended.status.exitstatus).to eq(3)
    expect_claim_given_back
  end

  it "is replaced after its lease if it is killed" do
    short = subscribe(lease_ttl: 1)
    stream_of(short, body: 1)
    program("worker.run(&forever)", on_id: short) do |child|
      child.wait_for(/working/)
      child.signal(:KILL)
    end
    work(short) { |_, batch| handled << batch.items }
    expect(take(handled)).to eq([1])
  end

  it "does not give its parent's claim back when it forks in a block" do
    ended = program(<<~RUBY)
      worker.run do
        puts "working"
        Process.wait(fork { puts "child" })
        begin
          client.subscriptions.claim(ARGV[1], worker: "other")
        rescue DurableStreams::AlreadyClaimedError => e
          puts e.current_holder == worker.name
        end
        worker.stop
      end
    RUBY
    expect(ended.output).to eq("working\nchild\ntrue\n")
    wait_until_acked(id, stream)
  end

  it "lets a child that was forked in a block exit with its status" do
    ended = program(<<~RUBY)
      require "English"
      worker.run do
        pid = fork or exit 3
        Process.wait(pid)
        puts $CHILD_STATUS.exitstatus
        worker.stop
      end
    RUBY
    expect([ended.output, ended.status.success?]).to eq(["3\n", true])
  end

  it "works in a child that was forked after the client was used" do
    client.subscriptions.find(id)
    mine = client
    items = ChildProcess.run do
      seen = []
      worker = DurableStreams::Worker.new(mine, [id])
      worker.run do |_, batch|
        seen.concat(batch.items)
        worker.stop
      end
      seen
    end
    expect(items).to eq([1])
  end

  describe "when its thread is interrupted" do
    it "by Timeout, gives its claim back and ends the blocks" do
      cleaned = Queue.new
      run = lambda do
        described_class.new(client, [id]).run do
          sleep
        ensure
          cleaned << 1
        end
      end
      expect { Timeout.timeout(1) { run.call } }.to raise_error(Timeout::Error)
      take(cleaned)
      expect_claim_given_back
    end

    it "by Thread#kill, gives its claim back" do
      _, thread = work(id) { handled.push(1) && sleep }
      take(handled)
      expect(timed { thread.kill.join }).to be < AtOnce::SECONDS
      expect_claim_given_back
    end

    it "leaves a claim to its lease if a block does not end" do
      stub_const("DurableStreams::Worker::EXIT_LIMIT", 0.5)
      release = Queue.new
      _, thread = work(id) do
        handled << 1
        sleep
      ensure
        release.pop
      end
      take(handled)
      thread.kill.join
      expect { subscriptions.claim(id, worker: "next") }.to raise_error(DurableStreams::AlreadyClaimedError)
      release << nil
    end
  end

  it "handles a batch again if the block's thread is killed, on another thread" do
    threads = []
    work(id, concurrency: 1) do |_, batch|
      threads << Thread.current
      threads.size == 1 ? Thread.exit : handled << batch.items
    end
    expect(take(handled)).to eq([1])
    wait_until_acked(id, stream)
    expect(threads.uniq.size).to eq(2)
    expect(threads.first.join(ChildProcess::TIMEOUT)).not_to be_nil
  end

  it "replaces the threads that read wakes and keep claims" do
    work(id) { |_, batch| handled << batch.items }
    expect(take(handled)).to eq([1])
    wait_until_acked(id, stream)
    ["durable_streams wakes", "durable_streams claim"].each_with_index do |name, n|
      Thread.list.select { |thread| thread.name == name }.each { |thread| thread.kill.join }
      stream << n
      expect(take(handled)).to eq([n])
    end
  end

  it "leaves no thread behind" do
    worker = described_class.new(client, id)
    before = Thread.list
    worker.run { worker.stop }
    expect(Thread.list - before).to eq([])
  end
end
