# frozen_string_literal: true

require "timeout"

# Consumers among signals, interrupts, forks and fibers. killed_consumers_spec.rb has kill -9.
RSpec.describe DurableStreams::Consumer do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let!(:stream) { client.create(unique_path("consumer"), content_type: :json, body: 1) }
  let!(:checkpoint) { DurableStreams::Checkpoint::Memory.new }

  after { client.close }

  def consumer(**options)
    described_class.new(stream, checkpoint: checkpoint, **options)
  end

  describe "stopped from a trap handler" do
    # A program whose main thread runs a consumer that USR1 stops. It prints `ready` when it has caught up.
    def program(code, **options)
      ChildProcess.program(<<~RUBY, stream.url, **options) { |child| yield child if block_given? }
        $stdout.sync = true
        stream = DurableStreams.stream(ARGV.first)
        checkpoint = DurableStreams::Checkpoint::Memory.new
        #{code}
      RUBY
    end

    %i[long_poll sse auto].each do |live|
      it "ends a wait with live: #{live.inspect} at once" do
        ended = program(<<~RUBY) { |child| child.wait_for(/ready/) && child.signal("USR1") }
          consumer = DurableStreams::Consumer.new(stream, checkpoint: checkpoint, live: #{live.inspect})
          trap("USR1") { consumer.stop }
          Thread.new do
            Thread.pass until consumer.up_to_date? && Thread.main.stop?
            print "ready "
          end
          print consumer.run { |batch| print batch.items, " " }
        RUBY
        expect(ended.output).to eq("[1] ready stopped")
        expect(ended.took).to be < AtOnce::SECONDS
      end
    end

    it "ends the pause before a retry at once" do
      ended = program(<<~RUBY) { |child| child.wait_for(/ready/) && child.signal("USR1") }
        policy = DurableStreams::RetryPolicy.new(initial_delay: 1_000, max_delay: 1_000)
        context = DurableStreams.new_context { |config| config.retry_policy = policy }
        stream = DurableStreams::Stream.new(ARGV.first, context: context)
        failed = false
        on_error = ->(*) { (failed = true) && :retry }
        consumer = DurableStreams::Consumer.new(stream, checkpoint: checkpoint, on_error: on_error)
        trap("USR1") { consumer.stop }
        Thread.new do
          Thread.pass until failed && Thread.main.stop?
          print "ready "
        end
        print consumer.run { raise "again" }, checkpoint.load.inspect
      RUBY
      expect(ended.output).to eq("ready stoppednil")
      expect(ended.took).to be < AtOnce::SECONDS
    end

    it "finishes the block and saves its batch" do
      ended = program(<<~RUBY)
        consumer = DurableStreams::Consumer.new(stream, checkpoint: checkpoint)
        trap("USR1") { consumer.stop }
        result = consumer.run do
          Process.kill("USR1", Process.pid)
          Thread.pass until consumer.stopped?
          print "finished "
        end
        print result, " ", checkpoint.load == stream.head.next_offset
      RUBY
      expect(ended.output).to eq("finished stopped true")
    end

    # A program of its own sends the signals, so that they come between any two of Ruby's steps.
    it "always ends the run, whatever it is doing" do
      ended = program(<<~RUBY)
        tail = stream.head.next_offset
        go, wait = IO.pipe
        fork do
          wait.close
          while (seconds = go.gets)
            sleep(seconds.to_f)
            Process.kill("USR1", Process.ppid)
          end
        end
        results = Array.new(300) do |round|
          handle = round.even? ? DurableStreams.stream(ARGV.first) : stream
          memory = DurableStreams::Checkpoint::Memory.new
          consumer = DurableStreams::Consumer.new(handle, checkpoint: memory, live: %i[auto long_poll][round % 2])
          trap("USR1") { consumer.stop }
          wait.puts(rand * 0.004)
          seen = 0
          result = consumer.run { |batch| seen += batch.items.size }
          [result, seen.positive? == (memory.load == tail)]
        end
        p results.size, results.uniq
      RUBY
      expect(ended.output).to eq("300\n[[:stopped, true]]\n")
    end
  end

  describe "interrupted" do
    it "by Timeout, raises, and continues at the checkpoint in the next run" do
      batches = []
      made = consumer
      [1, 2].each do |item|
        stream.append(item) unless item == 1
        until batches.last == [item] && made.up_to_date?
          expect { Timeout.timeout(0.2) { made.run { |batch| batches << batch.items } } }.to raise_error(Timeout::Error)
        end
      end
      stream.close_stream
      expect(made.run { raise "nothing is left" }).to eq(:closed)
      expect(batches.uniq).to eq([[1], [2]])
    end

    it "in the block, saves nothing" do
      kinds = [
        ->(thread) { thread.kill },
        ->(thread) { thread.raise(Interrupt) },
        ->(thread) { thread.raise(Class.new(Exception)) } # rubocop:disable Lint/InheritException
      ]
      kinds.each do |interrupt|
        in_block = Queue.new
        thread = Thread.new do
          Thread.current.report_on_exception = false
          consumer(on_error: ->(*) { :skip }).run do
            in_block << true
            Thread.stop
          end
        end
        in_block.pop
        interrupt.call(thread)
        begin
          thread.join
        rescue Exception # rubocop:disable Lint/RescueException -- what it was interrupted by
          nil
        end
        expect(checkpoint.load).to be_nil
      end
    end

    it "at any moment, skips nothing and repeats at most one batch" do
      appending = Thread.new { (2..3_000).each { |number| stream.append(number) } }
      runs = Array.new(100) do
        batches = []
        made = consumer
        thread = Thread.new { made.run { |batch| batches << batch.items } }
        Thread.pass until batches.any? || !thread.alive? || rand < 0.01
        thread.kill.join
        batches
      end
      appending.join
      stream.close_stream
      last = []
      consumer.run { |batch| last << batch.items }
      expect(RepeatedBatches.new([*runs, last])).to be_complete(1..3_000)
    end
  end

  describe "in forked children" do
    it "runs while a thread of the parent runs the same consumer, and stops by itself" do
      made = consumer
      thread = Thread.new { made.run { nil } }
      Thread.pass until made.up_to_date?
      in_child = ChildProcess.run do
        checkpoint.save("-1")
        made.run { |batch| made.stop if batch.items == [1] }
      end
      expect(in_child).to eq(:stopped)
      expect(made).not_to be_stopped
      expect(thread).to be_alive
      made.stop
      expect(thread.value).to eq(:stopped)
    end
  end

  if RUBY_VERSION >= "3.1"
    describe "under a Fiber scheduler" do
      it "follows many streams in one thread, until other fibers stop them" do
        handles = Array.new(50) { client.create(unique_path("consumer"), content_type: :json) }
        results = []
        SmallScheduler.run do
          handles.each_with_index do |handle, number|
            made = described_class.new(handle, checkpoint: DurableStreams::Checkpoint::Memory.new)
            handled = Thread::Queue.new
            Fiber.schedule { results << made.run { |batch| handled << batch.items } }
            Fiber.schedule do
              handle.append(number)
              results << handled.pop
              made.stop
            end
          end
        end
        expect(results.grep(Symbol)).to eq([:stopped] * 50)
        expect(results.grep(Array).sum([]).sort).to eq((0...50).to_a)
      end

      it "lets other fibers run during the pause before a retry" do
        policy = DurableStreams::RetryPolicy.new(initial_delay: 1_000, max_delay: 1_000)
        context = DurableStreams.new_context { |config| config.retry_policy = policy }
        handle = DurableStreams::Stream.new(stream.url, context: context)
        failures = Thread::Queue.new
        result = nil
        SmallScheduler.run do
          made = described_class.new(handle, checkpoint: checkpoint, on_error: ->(*) { failures << :failed and :retry })
          Fiber.schedule { result = made.run { raise "again" } }
          Fiber.schedule do
            failures.pop
            made.stop
          end
        end
        expect(result).to eq(:stopped)
        expect(failures).to be_empty
      end
    end
  end
end
