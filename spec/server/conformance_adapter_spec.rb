# frozen_string_literal: true

require "json"
require "open3"
require "timeout"

# Runs the adapter in a new process and sends it commands as the client conformance suite does. The suite has the test
# cases. These examples check the adapter: every command, and the benchmarks, which the suite's cases do not cover.
on_each_server "conformance/adapter" do
  before do
    program = File.expand_path("../../conformance/adapter", __dir__)
    @input, @output, @process = Open3.popen2(RbConfig.ruby, program)
    expect(send_command("init", serverUrl: server_url)).to include("type" => "init", "success" => true)
  end

  after do
    expect(send_command("shutdown")).to eq("type" => "shutdown", "success" => true)
    expect(@process.value).to be_success
    [@input, @output].each(&:close)
  end

  let(:path) { unique_path }

  def send_command(type, **command)
    @input.puts(JSON.generate(type: type, **command))
    JSON.parse(Timeout.timeout(60) { @output.gets })
  end

  # Runs a command that must succeed.
  def run(type, **command)
    send_command(type, **command).tap { |result| expect(result).to include("type" => type, "success" => true) }
  end

  def bench(name, **operation)
    result = run("benchmark", iterationId: "i", operation: { op: name, **operation })
    expect(Integer(result["durationNs"], 10)).to be_positive
    result["metrics"]
  end

  it "creates, appends, reads, closes and deletes" do
    expect([run("create", path: path, contentType: "text/plain"), run("create", path: path, contentType: "text/plain")]
      .map { |result| result["status"] }).to eq([201, 200])
    offset = run("append", path: path, data: "a\u2028", seq: 1)["offset"]
    expect(run("read", path: path, live: false))
      .to include("chunks" => [{ "data" => "a\u2028", "offset" => offset }], "offset" => offset, "upToDate" => true)
    expect(run("head", path: path)).to include("contentType" => "text/plain", "offset" => offset)
    expect(run("connect", path: path)["status"]).to eq(200)
    final = run("close", path: path, data: "b")["finalOffset"]
    expect(run("read", path: path, live: "sse", offset: offset))
      .to include("chunks" => [{ "data" => "b", "offset" => final }], "streamClosed" => true)
    run("delete", path: path)
    expect(send_command("head", path: path)).to include("type" => "error", "errorCode" => "NOT_FOUND", "status" => 404)
  end

  it "ends a live read at its timeout, with the status of the last poll" do
    run("create", path: path)
    expect(run("read", path: path, offset: "now", live: "long-poll", timeoutMs: 3_000))
      .to include("chunks" => [], "upToDate" => true, "status" => 204)
  end

  it "computes dynamic headers and parameters for every request" do
    run("create", path: path)
    run("set-dynamic-header", name: "X-Count", valueType: "counter")
    run("set-dynamic-param", name: "p", valueType: "counter")
    sent = Array.new(2) { run("append", path: path, data: "x").values_at("headersSent", "paramsSent") }
    expect(sent).to eq([[{ "X-Count" => "1" }, { "p" => "1" }], [{ "X-Count" => "2" }, { "p" => "2" }]])
    run("clear-dynamic")
    expect(run("append", path: path, data: "x")).not_to include("headersSent")
  end

  it "writes through producers" do
    run("create", path: path, contentType: "application/json")
    producer = { path: path, producerId: "p", epoch: 0, autoClaim: false }
    expect(Array.new(2) { |n| run("idempotent-append", **producer, data: n.to_s)["producerSeq"] }).to eq([0, 1])
    run("idempotent-detach", **producer)
    batch = { **producer, producerId: "q", items: %w[2 3], maxInFlight: 2 }
    run("idempotent-append-batch", **batch)
    expect(send_command("idempotent-append-batch", **batch))
      .to include("type" => "error", "message" => /epoch were used before/)
    run("idempotent-close", **producer, producerId: "r", data: "4")
    expect(JSON.parse(run("read", path: path)["chunks"].map { |chunk| chunk["data"] }.join)).to eq([0, 1, 2, 3, 4])
  end

  it "reports the gem's errors for invalid values under the suite's names" do
    run("validate", target: { target: "retry-options", maxRetries: 3, initialDelayMs: 100, maxDelayMs: 5000 })
    impossible = [{ target: "retry-options", initialDelayMs: 0 }, { target: "retry-options", maxRetries: -1 },
                  { target: "idempotent-producer", producerId: "p", epoch: -1 },
                  { target: "idempotent-producer", producerId: "p", maxBatchItems: 0 }]
    impossible.each do |target|
      expect(send_command("validate", target: target))
        .to include("errorCode" => "INVALID_ARGUMENT", "message" => /\A#{target.keys.last} must be/)
    end
  end

  it "runs every benchmark" do
    run("create", path: path)
    expect(bench("append", path: path, size: 100)).to eq("bytesTransferred" => 100)
    expect(bench("read", path: path)).to eq("bytesTransferred" => 100)
    2.times do
      expect(bench("throughput_append", path: "#{path}-many", count: 1_000, size: 10, concurrency: 5))
        .to eq("bytesTransferred" => 10_000, "messagesProcessed" => 1_000)
    end
    expect(bench("read", path: "#{path}-many")).to eq("bytesTransferred" => 20_000)
    expect(bench("create", path: "#{path}-new", contentType: "text/plain")).to eq({})
    expect(bench("roundtrip", path: "#{path}-poll", size: 5, live: "long-poll")).to eq("bytesTransferred" => 10)
    expect(bench("roundtrip", path: "#{path}-sse", size: 5, live: "sse", contentType: "application/json"))
      .to include("bytesTransferred" => be > 10)
    expect(bench("throughput_read", path: "#{path}-sse"))
      .to eq("bytesTransferred" => '[{"data":"*****"}]'.bytesize, "messagesProcessed" => 1)
  end

  it "appends with producer headers" do
    run("create", path: path)
    numbered = { path: path, data: "x", producerId: "p", producerEpoch: 0, producerSeq: 0 }
    results = Array.new(2) { run("append", **numbered) }
    expect(results.map { |result| result.values_at("status", "duplicate", "producerSeq") })
      .to eq([[200, false, 0], [204, true, 0]])
  end

  it "responds with an error to a line that is not a command" do
    @input.puts("{")
    expect(JSON.parse(@output.gets)).to include("type" => "error", "errorCode" => "PARSE_ERROR")
  end

  it "responds with NOT_SUPPORTED to an unknown command" do
    expect(send_command("fly")).to include("type" => "error", "commandType" => "fly", "errorCode" => "NOT_SUPPORTED")
  end
end
