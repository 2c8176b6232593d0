# frozen_string_literal: true

# Appends with `exactly_once: true` to a replicated server whose leader ends. Without it, the 502 and 504 of the gateway
# would have to be errors, since the append may be stored.
RSpec.describe "Appends with exactly_once: true", :cluster, without: :gc_pressure do
  let(:path) { cluster_path }
  let(:threads) { 4 }
  let(:messages) { 40 }

  def client_at(url, own)
    policy = DurableStreams::RetryPolicy.new(max_retries: 100, max_delay: 2)
    DurableStreams::Client.new(base_url: url, retry_policy: policy, timeout: 3, exactly_once: true,
                               trusted_origins: own.nodes.map(&:url))
  end

  # Appends from several threads, and yields when a part of the messages is stored.
  def append_all(stream, &interfere)
    stored = Thread::Queue.new
    writers = Array.new(threads) do |thread|
      Thread.new do
        messages.times { |n| stream.append([thread, n]) && stored << n }
      end
    end
    (threads * messages / 4).times { stored.pop }
    interfere.call
    writers.each(&:join)
  end

  ClusterHelpers::ROUTES.slice("a follower", "the gateway").each do |name, route|
    it "are stored once, in the order of each thread, while the leader is killed (by #{name})" do
      with_cluster do |own|
        leader = own.wait_for_leader(path)
        client = client_at(route.call(own, path), own)
        stream = client.create(path, content_type: :json)
        append_all(stream) { leader.kill }
        own.wait_for_leader(path)
        items = client_at(own.gateway_url, own).stream(path).read_all
        expect(items.size).to eq(threads * messages)
        threads.times do |thread|
          expect(items.select { |from, _| from == thread }.map(&:last)).to eq((0...messages).to_a)
        end
      end
    end
  end
end
