# frozen_string_literal: true

require "net/http"
require "rbconfig"
require "socket"

RSpec.describe Cluster, :cluster, without: :gc_pressure do
  let(:path) { cluster_path }

  # @return [Net::HTTPResponse] to the creation of the stream
  def create_at(url)
    Net::HTTP.start(URI(url).host, URI(url).port, nil) do |http|
      http.request(Net::HTTP::Put.new(path, "content-type" => "text/plain"))
    end
  end

  # Waits until nothing listens at the URL: a connection to it is closed when its process ends.
  def wait_for_end_of(url)
    deadline = now + Cluster::PATIENCE
    loop do
      TCPSocket.open(URI(url).host, URI(url).port) { |socket| socket.wait_readable([deadline - now, 0].max) }
      raise "#{url} still listens" if now > deadline
    end
  rescue Errno::ECONNREFUSED, Errno::ECONNRESET
    nil
  end

  it "has a leader for each stream, followers that redirect to it, and a gateway" do
    leader = cluster.wait_for_leader(path)
    followers = cluster.followers(path)
    expect(cluster.nodes).to contain_exactly(leader, *followers)
    expect(followers.map { |node| create_at(node.url)["location"] }.uniq).to eq([leader.url + path])
    expect([create_at(leader.url).code, create_at(cluster.gateway_url).code]).to eq(%w[201 200])
  end

  it "has another leader after one is killed, which follows when it is restarted" do
    with_cluster do |own|
      killed = own.wait_for_leader(path)
      create_at(killed.url)
      killed.kill
      expect { create_at(killed.url) }.to raise_error(Errno::ECONNREFUSED)
      successor = own.wait_for_leader(path)
      expect(successor).not_to be(killed)
      expect(create_at(successor.url).code).to eq("200")
      killed.restart
      expect(create_at(killed.url)["location"]).to eq(own.wait_for_leader(path).url + path)
    end
  end

  it "has a node hang while it is paused" do
    with_cluster do |own|
      follower = own.followers(path).first.pause
      request = Thread.new { create_at(follower.url) }
      expect(create_at(own.wait_for_leader(path).url).code).to eq("201")
      expect(request).to be_alive
      follower.resume
      expect(request.value.code).to eq("307")
    end
  end

  %w[KILL INT].each do |signal|
    it "ends with the process that started it, also by SIG#{signal}" do
      program = "cluster = Cluster.start; puts [cluster.gateway_url, *cluster.nodes.map(&:url)].join(' ') + '.'; sleep"
      file = File.expand_path("../support/cluster", __dir__)
      child = ChildProcess.command({}, RbConfig.ruby, "-r", file, "-e", "$stdout.sync = true; #{program}")
      urls = child.wait_for(/(.*)\.$/)[1].split
      child.signal(signal)
      urls.each { |url| wait_for_end_of(url) }
      expect(urls.size).to eq(4)
      child.ended
    end
  end
end
