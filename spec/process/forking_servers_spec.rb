# frozen_string_literal: true

require "net/http"

# The programs in examples/ that fork after they have created the client.
RSpec.describe "Servers that fork" do
  root = File.expand_path("../..", __dir__)

  # Each example has its own server, because the paths of the streams are fixed.
  let(:streams) { start_server }

  def start(*command, **environment)
    environment = { "STREAMS_URL" => streams.url, "RUBYLIB" => ChildProcess::LIB }.merge(environment)
    ChildProcess.command(environment, *command)
  end

  # Posts ten messages in each of eight threads. Returns the responses.
  def post_many(url, round)
    posting = Array.new(8) do |thread|
      Thread.new { Array.new(10) { |number| Net::HTTP.post(url, "[#{round},#{thread},#{number}]") } }
    end
    posting.flat_map(&:value)
  end

  # On Ruby 3.3, the workers of Puma hang after TERM in a quarter of the runs, with any application: IO#close does not
  # return. Puma ends them after 30 s.
  puma_hangs = RUBY_VERSION.start_with?("3.3.") ? 30 : 0
  puma_here = Gem::Specification.find_all_by_name("puma").any?
  RSpec.configuration.reporter.message("SKIPPED: the example with Puma, which is not installed.") unless puma_here

  it "serve from all workers and stop at once, with Puma in cluster mode and preload_app", if: puma_here do
    puma = start(RbConfig.ruby, Gem.bin_path("puma", "puma"), "-C", "#{root}/examples/puma/puma.rb",
                 "BIND" => "tcp://127.0.0.1:0", "WORKERS" => "2")
    url = URI("#{puma.wait_for(%r{Listening on (http://127\.0\.0\.1:[1-9]\d*)})[1]}/")
    2.times { |index| puma.wait_for(/Worker #{index} \(PID: \d+\) booted/) }
    # The operating system chooses the worker for a request: repeat until each has served some.
    rounds = 0
    workers = []
    until workers.size == 2 || rounds == 100
      responses = post_many(url, rounds)
      expect(responses.map(&:code).uniq).to eq(["201"])
      workers |= responses.map { |response| response["x-worker"] }
      rounds += 1
    end
    expect(workers.size).to eq(2)
    read = Net::HTTP.get(url)
    expect(read.lines.map { |line| JSON.parse(line) }).to match_array([*0...rounds].product([*0...8], [*0...10]))
    puma.signal("TERM")
    ended = puma.ended
    expect(ended.took).to be < AtOnce::SECONDS + puma_hangs
    expect(ended.output).not_to match(/BUG|panicked|SEGV|error/i)
  end

  it "do all jobs and stop on SIGTERM, with a worker that forks for every job" do
    worker = start(RbConfig.ruby, "#{root}/examples/forking_worker.rb", "CONCURRENCY" => "3")
    worker.wait_for(/waiting for jobs/)
    client = DurableStreams::Client.new(base_url: streams.url)
    jobs = client.stream("/examples/jobs", content_type: :json)
    20.times { |id| jobs.append({ "id" => id, "numbers" => [id, 1] }) }
    results = client.stream("/examples/results", content_type: :json).read_json(live: :long_poll).first(20)
    expect(results.to_h { |result| result.values_at("job", "sum") }).to eq((0...20).to_h { |id| [id, id + 1] })
    expect(results.map { |result| result["worker"] }.uniq.size).to eq(20)
    worker.signal("TERM")
    ended = worker.ended
    expect(ended.took).to be < AtOnce::SECONDS
    expect([ended.status.exitstatus, ended.output]).to eq([0, "waiting for jobs\n"])
  end
end
