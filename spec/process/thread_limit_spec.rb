# frozen_string_literal: true

# A process that may start no more threads. The operating system limits the threads of every user except the superuser.
RSpec.describe "A process at the limit of threads", :faults do
  # @param before [String] code that runs before the limit is set
  # @param url [String] of the fault server
  def run(program, before: "", url: faults.url, &block)
    ChildProcess.program(<<~RUBY, url, &block).output
      stream = DurableStreams.stream("\#{ARGV[0]}/s", content_type: :json)
      #{before}
      Process::UID.change_privilege(65_534) if Process.uid.zero?
      unlimited = Process.getrlimit(:NPROC).first
      Process.setrlimit(:NPROC, 1, Process.getrlimit(:NPROC).last)
      #{program}
    RUBY
  end

  before { faults.on("POST") { |reply| reply.respond(204, "", "stream-next-offset" => "7") } }

  it "appends on the thread that waits for the request" do
    expect(run("3.times { puts stream.append(1).next_offset }; GC.start")).to eq("7\n7\n7\n")
    expect(faults.requests.size).to eq(3)
  end

  it "raises ConnectionError for an append that would share a request, because that needs a thread" do
    faults.next("POST") { |reply| reply.wait("go").respond(204, "", "stream-next-offset" => "7") }
    threads = <<~RUBY
      gates = Array.new(2) { Queue.new }
      lead, follow = gates.map do |gate|
        Thread.new { gate.pop && stream.append(1).next_offset rescue "\#{$!.class}: \#{$!.message}" }
      end
    RUBY
    output = run(<<~RUBY, before: threads) do |child|
      $stdout.sync = true
      gates[0] << 1
      $stdin.gets
      gates[1] << 1
      puts follow.value
      puts lead.value, stream.append(1).next_offset
    RUBY
      faults.wait_for_request(method: "POST")
      child.write("\n")
      child.wait_for(/ConnectionError.*\n/)
      faults.open("go")
    end
    expect(output).to match(/\ADurableStreams::ConnectionError: cannot start the network threads.*\n7\n7\n\z/)
    expect(faults.requests.size).to eq(2)
  end

  describe "with the name of a host, which a thread looks up" do
    let(:url) { faults.url.sub("127.0.0.1", "localhost") }

    it "raises ConnectionError for an append, which was not sent, and appends once threads are allowed" do
      output = run(<<~RUBY, url: url)
        begin
          stream.append(1)
        rescue DurableStreams::ConnectionError => e
          puts e.message, e.outcome_unknown?
        end
        Process.setrlimit(:NPROC, unlimited, unlimited)
        puts stream.append(1).next_offset
      RUBY
      expect(output).to match(/\Aappend .*no thread can look up the host: .*unavailable.* \(6 tries.*\nfalse\n7\n\z/)
    end

    it "goes on with a producer's messages once threads are allowed" do
      faults.on("POST") do |reply|
        reply.respond(200, "", "stream-next-offset" => "7", "producer-epoch" => "0", "producer-seq" => "0")
      end
      output = run(<<~RUBY, before: <<~BEFORE, url: url)
        producer << 1
        puts retries.pop
        Process.setrlimit(:NPROC, unlimited, unlimited)
        producer.close
        puts producer.pending
      RUBY
        retries = Queue.new
        DurableStreams.subscribe("retry.durable_streams") { |event| retries << event.payload[:reason] }
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", next_seq: 0)
      BEFORE
      expect(output).to match(/\A.*no thread can look up the host.*\n0\n\z/)
    end
  end

  it "raises an error with the reason if a producer needs a thread, and works once threads are allowed" do
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
