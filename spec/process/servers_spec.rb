# frozen_string_literal: true

require "net/http"
require "socket"

# The programs in examples/ that fork after the client was made.
RSpec.describe "Servers that fork" do
  root = File.expand_path("../..", __dir__)

  # Each with a streams server of its own, since their paths are fixed.
  let(:streams) { start_server }

  def start(*command, **environment)
    environment = { "STREAMS_URL" => streams.url, "RUBYLIB" => ChildProcess::LIB }.merge(environment)
    ChildProcess.command(environment, *command)
  end

  def free_port
    TCPServer.open("127.0.0.1", 0) { |socket| socket.addr[1] }
  end

  it "Puma in cluster mode with preload_app serves from all of its workers, and stops at once" do
    port = free_port
    puma = start(RbConfig.ruby, Gem.bin_path("puma", "puma"), "-C", "#{root}/examples/puma/puma.rb",
                 "BIND" => "tcp://127.0.0.1:#{port}", "WORKERS" => "2")
    2.times { |index| puma.wait_for(/Worker #{index} \(PID: \d+\) booted/) }
    posting = Array.new(8) do |thread|
      Thread.new do
        Array.new(10) do |number|
          Net::HTTP.post(URI("http://127.0.0.1:#{port}/"), "[#{thread},#{number}]")
        end
      end
    end
    answers = posting.flat_map(&:value)
    expect(answers.map(&:code).uniq).to eq(["201"])
    expect(answers.map { |answer| answer["x-worker"] }.uniq.size).to eq(2)
    read = Net::HTTP.get(URI("http://127.0.0.1:#{port}/"))
    expect(read.lines.map { |line| JSON.parse(line) }).to match_array([*0...8].product([*0...10]))
    puma.signal("TERM")
    ended = puma.ended
    expect(ended.took).to be < AtOnce::SECONDS
    expect(ended.output).not_to match(/BUG|panicked|SEGV|error/i)
  end

  it "a worker that forks for every job does them all, and stops when it is told" do
    worker = start(RbConfig.ruby, "#{root}/examples/forking_worker.rb", "CONCURRENCY" => "3")
    worker.wait_for(/waiting for jobs/)
    client = DurableStreams::Client.new(base_url: streams.url)
    jobs = client.stream("/examples/jobs", content_type: :json)
    20.times { |id| jobs.append({ "id" => id, "numbers" => [id, 1] }) }
    results = client.stream("/examples/results", content_type: :json).read_json(live: :long_poll).first(20)
    expect(results.to_h { |result| result.values_at("job", "answer") }).to eq((0...20).to_h { |id| [id, id + 1] })
    expect(results.map { |result| result["worker"] }.uniq.size).to eq(20)
    worker.signal("TERM")
    ended = worker.ended
    expect(ended.took).to be < AtOnce::SECONDS
    expect([ended.status.exitstatus, ended.output]).to eq([0, "waiting for jobs\n"])
  end
end
