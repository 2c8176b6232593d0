# frozen_string_literal: true

# What a process does that may have no more threads. The system bounds them for each user, but not for the superuser.
RSpec.describe "A process at the limit of threads", :faults do
  def run(program)
    ChildProcess.program(<<~RUBY, faults.url).output
      stream = DurableStreams.stream("\#{ARGV[0]}/s", content_type: :json)
      Process::UID.change_privilege(65_534) if Process.uid.zero?
      unlimited = Process.getrlimit(:NPROC).first
      Process.setrlimit(:NPROC, 1, Process.getrlimit(:NPROC).last)
      #{program}
    RUBY
  end

  before { faults.on("POST") { |reply| reply.respond(204, "", "stream-next-offset" => "7") } }

  it "appends, on the thread that waits for it" do
    expect(run("3.times { puts stream.append(1).next_offset }; GC.start")).to eq("7\n7\n7\n")
    expect(faults.requests.size).to eq(3)
  end

  it "is told why nothing was sent where a thread is needed, and goes on when it may have one" do
    output = run(<<~RUBY)
      make = -> { DurableStreams::Producer.new(stream: stream, producer_id: "p") }
      begin
        make.call
      rescue DurableStreams::ConnectionError => e
        puts e.message
      end
      Process.setrlimit(:NPROC, unlimited, unlimited)
      puts make.call.seq
    RUBY
    expect(output).to match(/\Acannot start the network threads: .*unavailable.*\n-1\n\z/)
  end
end
