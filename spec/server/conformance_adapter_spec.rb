# frozen_string_literal: true

require "json"
require "open3"
require "timeout"

# The adapter in a process of its own, spoken to as the client conformance suite does. The suite has the cases; here is
# what keeps the adapter fit for it: every command, and the benchmarks, which the suite's cases do not cover.
on_each_server "conformance/adapter" do
  before do
    program = File.expand_path("../../conformance/adapter", __dir__)
    @input, @output, @process = Open3.popen2(RbConfig.ruby, program)
    expect(tell("init", serverUrl: server_url)).to include("type" => "init", "success" => true)
  end

  after do
    expect(tell("shutdown")).to eq("type" => "shutdown", "success" => true)
    expect(@process.value).to be_success
    [@input, @output].each(&:close)
  end

  let(:path) { unique_path }

  def tell(type, **command)
    @input.puts(JSON.generate(type: type, **command))
    JSON.parse(Timeout.timeout(60) { @output.gets })
  end

  # Says what must succeed.
  def ask(type, **command)
    tell(type, **command).tap { |result| expect(result).to include("type" => type, "success" => true) }
  end

  def bench(name, **operation)
    result = ask("benchmark", iterationId: "i", operation: { op: name, **operation })
    expect(Integer(result["durationNs"], 10)).to be_positive
    result["metrics"]
  end

  it "creates, appends, reads, closes and deletes" do
    expect([ask("create", path: path, contentType: "text/plain"), ask("create", path: path, contentType: "text/plain")]
      .map { |result| result["status"] }).to eq([201, 200])
    offset = ask("append", path: path, data: "a\u2028", seq: 1)["offset"]
    expect(ask("read", path: path, live: false))
      .to include("chunks" => [{ "data" => "a\u2028", "offset" => offset }], "offset" => offset, "upToDate" => true)
    expect(ask("head", path: path)).to include("contentType" => "text/plain", "offset" => offset)
    expect(ask("connect", path: path)["status"]).to eq(200)
    final = ask("close", path: path, data: "b")["finalOffset"]
    expect(ask("read", path: path, live: "sse", offset: offset))
      .to include("chunks" => [{ "data" => "b", "offset" => final }], "streamClosed" => true)
    ask("delete", path: path)
    expect(tell("head", path: path)).to include("type" => "error", "errorCode" => "NOT_FOUND", "status" => 404)
  end

  it "ends a live read when its time is over, with the status of the last poll" do
    ask("create", path: path)
    expect(ask("read", path: path, offset: "now", live: "long-poll", timeoutMs: 3_000))
      .to include("chunks" => [], "upToDate" => true, "status" => 204)
  end

  it "has headers and parameters asked for with every request" do
    ask("create", path: path)
    ask("set-dynamic-header", name: "X-Count", valueType: "counter")
    ask("set-dynamic-param", name: "p", valueType: "counter")
    sent = Array.new(2) { ask("append", path: path, data: "x").values_at("headersSent", "paramsSent") }
    expect(sent).to eq([[{ "X-Count" => "1" }, { "p" => "1" }], [{ "X-Count" => "2" }, { "p" => "2" }]])
    ask("clear-dynamic")
    expect(ask("append", path: path, data: "x")).not_to include("headersSent")
  end

  it "writes through producers" do
    ask("create", path: path, contentType: "application/json")
    producer = { path: path, producerId: "p", epoch: 0, autoClaim: false }
    expect(Array.new(2) { |n| ask("idempotent-append", **producer, data: n.to_s)["producerSeq"] }).to eq([0, 1])
    ask("idempotent-detach", **producer)
    batch = { **producer, producerId: "q", items: %w[2 3], maxInFlight: 2 }
    ask("idempotent-append-batch", **batch)
    expect(tell("idempotent-append-batch", **batch))
      .to include("type" => "error", "message" => /epoch were used before/)
    ask("idempotent-close", **producer, producerId: "r", data: "4")
    expect(JSON.parse(ask("read", path: path)["chunks"].map { |chunk| chunk["data"] }.join)).to eq([0, 1, 2, 3, 4])
  end

  it "reports the gem's errors for invalid values under the suite's names" do
    ask("validate", target: { target: "retry-options", maxRetries: 3, initialDelayMs: 100, maxDelayMs: 5000 })
    impossible = [{ target: "retry-options", initialDelayMs: 0 }, { target: "retry-options", maxRetries: -1 },
                  { target: "idempotent-producer", producerId: "p", epoch: -1 },
                  { target: "idempotent-producer", producerId: "p", maxBatchItems: 0 }]
    impossible.each do |target|
      expect(tell("validate", target: target))
        .to include("errorCode" => "INVALID_ARGUMENT", "message" => /\A#{target.keys.last} must be/)
    end
  end

  it "does all that the benchmarks ask for" do
    ask("create", path: path)
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

  it "appends under a producer's number" do
    ask("create", path: path)
    numbered = { path: path, data: "x", producerId: "p", producerEpoch: 0, producerSeq: 0 }
    results = Array.new(2) { ask("append", **numbered) }
    expect(results.map { |result| result.values_at("status", "duplicate", "producerSeq") })
      .to eq([[200, false, 0], [204, true, 0]])
  end

  it "answers a line that is no command" do
    @input.puts("{")
    expect(JSON.parse(@output.gets)).to include("type" => "error", "errorCode" => "PARSE_ERROR")
  end

  it "answers NOT_SUPPORTED to an unknown command" do
    expect(tell("dance")).to include("type" => "error", "commandType" => "dance", "errorCode" => "NOT_SUPPORTED")
  end
end
