# frozen_string_literal: true

# A thread that computes a header for another's request is still the one that a signal is for.
RSpec.describe "A signal that comes while the main thread computes a header" do
  let(:faults) { FaultServer.shared }

  %w[TERM INT].each do |signal|
    it "reaches the main thread as SIG#{signal}, whoever's request it was for" do
      faults.on("GET") { |reply| reply.wait("never") }
      faults.on("POST") { |reply| reply.respond(200, "", "stream-next-offset" => "1") }
      # The callable says when it runs on the main thread for the second time, which is for the appends: its own read
      # has been sent by then. Thread.stop is where the signal comes.
      ended = ChildProcess.program(<<~RUBY, faults.url) do |child|
        asked = 0
        token = lambda do
          if Thread.current == Thread.main && (asked += 1) == 2
            $stdout.syswrite("here")
            Thread.stop
          end
          "t"
        end
        stream = DurableStreams::Client.new(base_url: ARGV[0], headers: { "X-Token" => token })
                                       .stream("/s", content_type: "application/json")
        Thread.new do
          loop { stream.append(1) }
        rescue Exception => e
          $stdout.syswrite(" appending ended by \#{e.class}") unless $ending
        end
        begin
          stream.read(live: :long_poll).each {}
        rescue SignalException
          $ending = true
          $stdout.syswrite(" signalled")
          raise
        end
      RUBY
        child.wait_for(/here/)
        child.signal(signal)
      end
      expect(ended.output.lines.first.chomp).to start_with("here signalled")
      expect(ended.status.termsig).to eq(Signal.list[signal])
    end
  end
end
