# frozen_string_literal: true

require "English"

# Exceptions and panics cross between Ruby and Rust once and leave no state behind.
RSpec.describe "Exceptions" do
  include_context "with a client of the fault server"

  describe "the current exception" do
    calls = {
      "a call that succeeds" => ->(stream) { stream.head },
      "a call that fails" => lambda do |stream|
        stream.append("{")
      rescue DurableStreams::ParseError
        nil
      end,
      "a read" => ->(stream) { stream.read_json.to_a },
      "an iteration that is broken out of" => ->(stream) { stream.read_json.first },
      "a call that is interrupted" => lambda do |stream|
        Timeout.timeout(0.01) { stream.read(live: :long_poll, offset: "7").first }
      rescue Timeout::Error
        nil
      end
    }
    calls.each do |name, call|
      it "survives #{name} in an ensure" do
        faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
        faults.on(nil, nil, query: { "offset" => "7" }) { |reply| reply.wait("never") }
        seen = nil
        expect do
          raise KeyError, "first"
        ensure
          call.call(stream)
          seen = $ERROR_INFO
        end.to raise_error(KeyError, "first")
        expect(seen).to be_a(KeyError)
      end

      it "survives #{name} in a fiber" do
        faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
        faults.on(nil, nil, query: { "offset" => "7" }) { |reply| reply.wait("never") }
        expect do
          raise KeyError, "first"
        ensure
          Fiber.new { call.call(stream) }.resume
        end.to raise_error(KeyError, "first")
      end
    end

    # In at_exit, only the interpreter refers to the exception and no Ruby frame does. Any rescue or break clears it.
    it "survives calls in an at_exit block" do
      faults.on { |reply| reply.respond(200, "[1]", "stream-next-offset" => "1", "stream-up-to-date" => "true") }
      ended = ChildProcess.program(<<~'RUBY', faults.url)
        stream = lambda do |**headers|
          DurableStreams::Client.new(base_url: ARGV[0], headers: headers).stream("/s", content_type: :json)
        end
        plain = stream.call
        computed = stream.call("X-Token" => -> { "t" })
        at_exit do
          [-> { plain.head }, -> { computed.head }, -> { plain.append(1) }, -> { computed.append(1) },
           -> { plain.read_json.to_a }, -> { computed.read_json.to_a }].each do |call|
            call.call
            $stdout.syswrite("#{$!.class} ")
          end
        end
        raise KeyError, "first"
      RUBY
      expect(ended.output).to start_with("KeyError " * 6)
      expect(ended.status.exitstatus).to eq(1)
    end

    it "is the cause of the next one" do
      raise KeyError, "first"
    rescue KeyError => e
      expect { stream.append("{") }.to raise_error(DurableStreams::ParseError) { |error| expect(error.cause).to be(e) }
    end
  end

  it "of a value callable reach the caller unchanged, and the next call works" do
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
    failing = true
    mine = Class.new(StandardError)
    token = -> { failing ? raise(mine, "no token") : "token" }
    stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => token })
    expect { stream.head }.to raise_error(mine, "no token")
    failing = false
    expect(stream.head.next_offset).to eq("1")
  end

  it "do not prevent a throw out of a value callable, and the next call works" do
    faults.on { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
    token = -> { throw :out, 1 }
    stream = client.stream("/s", content_type: "application/json", headers: { "X-Token" => -> { token.call } })
    expect(catch(:out) { stream.head }).to eq(1)
    token = -> { "token" }
    expect(stream.head.next_offset).to eq("1")
  end

  # Only development builds can panic on demand. The extension's own tests do this in every run.
  if DurableStreams::Native.respond_to?(:panic_for_tests)
    %w[method wait request task].each do |place|
      it "are raised once for a panic in a #{place}, and the process continues" do
        faults.on { |reply| reply.respond(404) }
        ended = ChildProcess.program(<<~RUBY, faults.url, place)
          $stderr.reopen(File::NULL) # Rust reports panics there.
          3.times do
            DurableStreams::Native.panic_for_tests(ARGV[1])
          rescue DurableStreams::DurableStreamError => e
            puts e.message
          end
          Thread.new { DurableStreams::Native.panic_for_tests(ARGV[1]) rescue puts("thread") }.join
          GC.start
          puts DurableStreams::Client.new(base_url: ARGV[0]).stream("/s").exists?
        RUBY
        expect(ended.output).to eq("#{"internal error: panic in a #{place}\n" * 3}thread\nfalse\n")
      end
    end
  end
end
