# frozen_string_literal: true

require "socket"
require "timeout"

# A Ruby thread that waits inside the extension: other threads run, and every kind of interrupt ends the wait.
RSpec.describe "Waiting" do
  # Accepts connections and never responds. `arrived` gets one entry for every request.
  let(:silent) { TCPServer.new("127.0.0.1", 0) }
  let(:arrived) { Thread::Queue.new }
  let(:client) { DurableStreams::Client.new(base_url: "http://127.0.0.1:#{silent.addr[1]}") }
  let(:stream) { client.stream("/s", content_type: "application/json") }

  before do
    @listener = Thread.new do
      sockets = []
      loop do
        sockets << (socket = silent.accept)
        arrived << true if socket.getbyte # It is nil if an interrupt came after connecting, before the request.
      end
    end
  end

  after do
    client.close
    @listener.kill.join
    silent.close
  end

  calls = {
    "an append" => ->(stream) { stream.append({ "a" => 1 }) },
    "a long-poll" => ->(stream) { stream.read(live: :long_poll).first },
    "an SSE read" => ->(stream) { stream.read(live: :sse).first },
    "a read with a time limit" => ->(stream) { stream.read(live: :long_poll).poll(60) },
    "a head" => ->(stream) { stream.head }
  }

  # Runs `call` in a thread, waits until its request has arrived and yields the thread for the interrupt. Returns how
  # many seconds the call took to end, and its error.
  def interrupt(call)
    thread = Thread.new { call.call(stream) }
    thread.report_on_exception = false
    arrived.pop
    started = now
    yield thread
    begin
      thread.join
    rescue Exception => e # rubocop:disable Lint/RescueException -- an Interrupt is what is looked for
      error = e
    end
    [now - started, error]
  end

  calls.each do |name, call|
    describe name do
      it "ends on Thread#kill" do
        took, error = interrupt(call, &:kill)
        expect(error).to be_nil
        expect(took).to be < AtOnce::SECONDS
      end

      it "ends on Thread#raise with the raised exception" do
        took, error = interrupt(call) { |thread| thread.raise(Interrupt, "stop") }
        expect(error).to be_an(Interrupt)
        expect(took).to be < AtOnce::SECONDS
      end

      it "ends on Timeout.timeout" do
        started = now
        expect { Timeout.timeout(0.1) { call.call(stream) } }.to raise_error(Timeout::Error)
        expect(now - started).to be < 0.1 + AtOnce::SECONDS
      end

      it "ends on an interrupt that its mask has deferred until it blocks" do
        armed = Thread::Queue.new
        raised = false
        own_stream = stream # Here: `let` locks, and so blocks.
        thread = Thread.new do
          Thread.handle_interrupt(IOError => :on_blocking) do
            armed << true
            nil until raised # Ruby looks at interrupts here.
            call.call(own_stream)
          end
        end
        thread.report_on_exception = false
        armed.pop
        thread.raise(IOError, "stop")
        raised = true
        took = timed { expect { thread.join }.to raise_error(IOError, "stop") }
        expect(took).to be < AtOnce::SECONDS
      end

      it "lets another thread make full progress" do
        count = 0
        interrupt(call) do |thread|
          1_000_000.times { count += 1 }
          thread.kill
        end
        expect(count).to eq(1_000_000)
      end

      it "is not ended by a wake-up that raises nothing" do
        ended = true
        interrupt(call) do |thread|
          3.times { thread.wakeup }
          Thread.pass
          ended = thread.join(0.05)
          thread.kill
        end
        expect(ended).to be_nil
      end
    end
  end

  it "respects interrupt masks" do
    armed = Thread::Queue.new
    seen = []
    thread = Thread.new do
      Thread.handle_interrupt(RuntimeError => :never) do
        Thread.handle_interrupt(RuntimeError => :on_blocking) do
          armed << true
          stream.head
        rescue RuntimeError => e
          seen << e.message
        end
      end
    end
    armed.pop
    arrived.pop
    thread.raise("inside")
    thread.join
    expect(seen).to eq(["inside"])
  end

  it "runs trap handlers and continues to wait" do
    caught = Thread::Queue.new
    previous = trap("USR1") { caught << true }
    thread = Thread.new { stream.head }
    thread.report_on_exception = false
    arrived.pop
    Process.kill("USR1", Process.pid)
    caught.pop
    expect(thread.join(0.05)).to be_nil
    thread.kill.join
  ensure
    trap("USR1", previous || "DEFAULT")
  end

  describe "of several threads" do
    let(:waiting) do
      Array.new(8) { |number| Thread.new { client.stream("/s#{number}", content_type: :json).append(number) } }
           .each { |thread| thread.report_on_exception = false }
    end

    before { waiting.size.times { arrived.pop } }

    it "is ended only for the thread that is interrupted" do
      waiting.shuffle(random: Random.new(RSpec.configuration.seed)).each do |thread|
        thread.raise("ended")
        expect { thread.join(AtOnce::SECONDS) }.to raise_error(RuntimeError, "ended")
        waiting.delete(thread)
        expect(waiting).to all(be_alive)
      end
    end

    it "is ended for all of them at the same time" do
      waiting.each(&:kill)
      expect(waiting.map { |thread| thread.join(AtOnce::SECONDS) }).to eq(waiting)
    end
  end

  if File.directory?("/proc/self/fd")
    # The socket, and three of the runtime on which the thread carries out its request. And one for all threads.
    it "needs four descriptors for a thread" do
      threads = 3
      used = ChildProcess.run do
        server = TCPServer.new("127.0.0.1", 0)
        client = DurableStreams::Client.new(base_url: "http://127.0.0.1:#{server.addr[1]}")
        GC.disable # It would close sockets of earlier examples.
        before = Dir.children("/proc/self/fd").size
        threads.times { |number| Thread.new { client.stream("/s#{number}").head } }
        accepted = Array.new(threads) { server.accept.tap { |socket| socket.readpartial(1) } }
        Dir.children("/proc/self/fd").size - before - accepted.size
      end
      expect(used).to be_between(threads, (4 * threads) + 1)
    end
  end

  it "leaves the client usable" do
    interrupt(calls["an append"], &:kill)
    other = DurableStreams::Client.new(base_url: server_url)
    path = unique_path
    expect(other.create(path, content_type: "application/json").append({ "a" => 1 }).next_offset).to be_a(String)
  end
end
