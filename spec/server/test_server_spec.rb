# frozen_string_literal: true

require "net/http"

RSpec.describe TestServer do
  def put(url, body)
    Net::HTTP.start(URI(url).host, URI(url).port) do |http|
      http.put(URI(url).path, body, "content-type" => "text/plain")
    end
  end

  it "listens once it has started" do
    server = start_server
    expect(put("#{server.url}/a", "x")).to be_a(Net::HTTPCreated)
  end

  it "has the same data and port after a crash, with a write-ahead log" do
    server = start_server(durability: :wal)
    url = "#{server.url}/a"
    put(url, "saved")
    server.kill
    expect(server).not_to be_running
    server.restart
    expect(Net::HTTP.get(URI(url))).to eq("saved")
  end

  it "does not respond while it is suspended" do
    server = start_server
    server.suspend
    http = Net::HTTP.new(TestServer::HOST, server.port)
    http.read_timeout = 0.1
    http.max_retries = 0
    expect { http.get("/a") }.to raise_error(Net::ReadTimeout)
    server.resume
    expect(Net::HTTP.get_response(URI("#{server.url}/a"))).to be_a(Net::HTTPNotFound)
  end

  it "raises the reason if it cannot start" do
    taken = start_server
    expect { start_server(port: taken.port) }.to raise_error(TestServer::StartError, /AddrInUse/)
  end

  it "leaves no process behind if its start is interrupted" do
    Dir.mktmpdir do |folder|
      program = File.join(folder, "silent")
      File.write(program, "#!/bin/sh\necho $$ > #{folder}/new\nmv #{folder}/new #{folder}/pid\nexec sleep 600\n")
      File.chmod(0o755, program)
      starting = Thread.new { described_class.start(binary: program) }
      Thread.pass until File.exist?(File.join(folder, "pid"))
      starting.kill.join
      pid = Integer(File.read(File.join(folder, "pid")))
      expect { Process.kill(0, pid) }.to raise_error(Errno::ESRCH)
    end
  end

  it "removes only its temporary folder when it stops" do
    Dir.mktmpdir do |saved|
      temporary = start_server
      lasting = start_server(data_dir: saved, durability: :wal)
      [temporary, lasting].each(&:stop)
      expect(File.exist?(temporary.data_dir)).to be(false)
      expect(Dir.children(saved)).not_to be_empty
    end
  end
end

RSpec.describe ServerHelpers do
  it "returns why the Node server cannot run, and raises this reason when it starts one" do
    stub_const("NodeServer::PACKAGE", "/no/such/folder")
    allow(NodeServer).to receive(:node).and_return("/bin/node")
    expect(NodeServer.missing).to eq("/no/such/folder is not there")
    expect { NodeServer.start }.to raise_error(TestServer::StartError, %r{/no/such/folder is not there; run bin/setup})
    allow(NodeServer).to receive(:node).and_return(nil)
    expect(NodeServer.missing).to eq("there is no `node` in PATH")
  end

  it "reports the skipped groups after the run" do
    allow(NodeServer).to receive(:missing).and_return("it is not there")
    expect(ServerHelpers.report_skipped([DurableStreams::Stream]))
      .to eq("SKIPPED: the examples of DurableStreams::Stream against the Node server, because it is not there. " \
             "bin/setup installs it.")
    expect(ServerHelpers.report_skipped([])).to be_nil
  end
end
