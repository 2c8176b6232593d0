# frozen_string_literal: true

on_server_with_subscriptions DurableStreams::Worker do
  let(:id) { subscribe }
  let(:handled) { Queue.new }

  it "handles what is pending, acks it, and waits for more" do
    first = stream_of(id, "1")
    second = stream_of(id, "2", body: { "n" => 1 })
    3.times { |n| first << n }
    second << { "n" => 2 }
    _, thread = work(id) { |stream, batch| batch.items.each { |item| handled << [stream.path, item] } }
    items = Array.new(5) { take(handled) }
    expect(items.select { |path, _| path == "#{id}/1" }.map(&:last)).to eq([0, 1, 2])
    expect(items.select { |path, _| path == "#{id}/2" }.map(&:last)).to eq([{ "n" => 1 }, { "n" => 2 }])
    wait_until_acked(id, first, second)
    first << 3
    expect(take(handled)).to eq(["#{id}/1", 3])
    stream_of(id, "3") << 4
    expect(take(handled)).to eq(["#{id}/3", 4])
    expect(thread).to be_alive
  end

  it "yields a usable stream, and the chunks of streams that are not JSON" do
    client.create("#{id}/text", content_type: :text).append("grün")
    client.create("#{id}/bytes", content_type: :bytes).append("\xFF\x00".b)
    work(id) { |stream, batch| handled << [stream.content_type, stream.head.next_offset == batch.offset, batch.data] }
    seen = Array.new(2) { take(handled) }
    expect(seen).to contain_exactly(["text/plain", true, "grün"], ["application/octet-stream", true, "\xFF\x00".b])
  end

  it "continues after what another worker has handled" do
    stream = stream_of(id)
    3.times { |n| stream << n }
    first, thread = work(id) { |_, batch| batch.items.each { |item| handled << item } }
    expect(Array.new(3) { take(handled) }).to eq([0, 1, 2])
    first.stop
    expect(thread.value).to be_nil
    stream << 3
    work(id) { |_, batch| batch.items.each { |item| handled << item } }
    expect(take(handled)).to eq(3)
    wait_until_acked(id, stream)
    expect(handled).to be_empty
  end

  it "runs the blocks of several streams at once, and those of one stream one after the other" do
    streams = Array.new(6) { |n| stream_of(id, n.to_s, body: 0) }
    running = Hash.new(0)
    lock = Mutex.new
    together = Count.new
    work(id) do |stream, batch| # concurrency: 5
      lock.synchronize { running[stream.path] += 1 }
      raise "two blocks for #{stream.path}" if running[stream.path] > 1

      together.add(1)
      together.wait_for(5, ChildProcess::TIMEOUT)
      batch.items.each { |item| handled << [stream.path, item] }
      stream << 1 if batch.items == [0]
      lock.synchronize { running[stream.path] -= 1 }
    end
    items = Array.new(12) { take(handled) }
    expect(items.group_by(&:first).transform_values { |of_stream| of_stream.map(&:last) })
      .to eq(streams.to_h { |stream| [stream.path, [0, 1]] })
    expect(handled).to be_empty
  end

  it "handles any number of subscriptions, with one wake stream or several" do
    shared = subscribe
    ids = [shared, subscribe, unique]
    subscriptions.create(ids.last, type: :pull_wake, pattern: "#{ids.last}/*", wake_stream: "wakes/#{shared}")
    worker, = work(ids, concurrency: 1) { |stream, batch| handled << [stream.path, batch.items] }
    2.times do |n|
      expected = ids.map { |each_id| ["#{each_id}/#{n}", [n]] }
      ids.each { |each_id| stream_of(each_id, n.to_s, body: nil) << n }
      expect(Array.new(3) { take(handled) }).to match_array(expected)
    end
    expect(worker.inspect).to include(*ids)
  end

  it "leaves a subscription to other workers while all its threads are busy" do
    other = subscribe
    release = Queue.new
    work([id, other], concurrency: 1) { |stream, _| stream.path.start_with?(other) || handled.push(1) && release.pop }
    stream_of(id) << 1
    take(handled)
    work([other], name: "free") { |stream, _| handled << stream.path }
    stream_of(other) << 1
    expect(take(handled)).to eq("#{other}/1")
    release << nil
  end

  it "claims no more subscriptions than it has free threads" do
    ids = [subscribe, subscribe]
    ids.each { |each_id| stream_of(each_id, body: 1) }
    release = Queue.new
    work(ids, concurrency: 1) { |stream, _| handled.push(stream.path) && release.pop }
    claimed = File.dirname(take(handled))
    other, = ids - [claimed]
    expect(subscriptions.claim(other, worker: "free").release).to be_nil
    release.close
    expect(take(handled)).to eq("#{other}/1")
  end

  it "does not let a subscription wait until a busy one has nothing more to do" do
    other = subscribe
    20.times { |n| stream_of(id, n.to_s, body: n) }
    release = Queue.new
    worker, = work([id, other], concurrency: 1) { |stream, _| handled.push(stream.path) && release.pop }
    take(handled)
    stream_of(other, body: 1)
    client.stream("wakes/#{other}").read_json(live: :auto).first
    paths = Array.new(10) { release.push(nil) && take(handled) }
    expect(paths).to include("#{other}/1")
    worker.stop
    release.close
  end

  describe "the lease" do
    let(:id) { subscribe(lease_ttl: 1) }

    it "may be over before other streams of its claim begin if a block runs for longer" do
      slow, *others = Array.new(5) { |n| stream_of(id, n.to_s, body: n) }
      release = Queue.new
      work(id, concurrency: 2) do |stream, _|
        handled << stream.path
        stream.path == slow.path ? release.pop : sleep(0.5) # four of them are longer than the lease
      end
      expect(Array.new(5) { take(handled) }).to match_array([slow, *others].map(&:path))
      wait_until_acked(id, *others)
      release.close
    end

    it "is prolonged while a block runs" do
      stream = stream_of(id, body: 1)
      work(id) { |_, batch| sleep(2) && handled << batch.items } # what the example is about
      work(id) { |_, batch| handled << batch.items }
      wait_until_acked(id, stream)
      expect([take(handled), handled.empty?]).to eq([[1], true])
    end

    it "is prolonged while a block uses the processor" do
      stream = stream_of(id, body: 1)
      work(id) do |_, batch|
        handled << batch.items
        deadline = now + 2
        nil until now > deadline
      end
      expect(take(handled)).to eq([1])
      work(id) { handled << :twice }
      wait_until_acked(id, stream)
      expect(handled).to be_empty
    end

    it "of a worker that was killed is taken over" do
      stream_of(id, body: 1)
      claim = subscriptions.claim(id, worker: "killed")
      work(id) { |_, batch| handled << batch.items }
      expect(take(handled)).to eq([1])
      expect { claim.ack }.to raise_error(DurableStreams::FencedError)
    end
  end

  describe "#stop" do
    it "finishes running blocks, acks their batches and gives the claim back" do
      stream = stream_of(id, body: 1)
      release = Queue.new
      worker, thread = work(id) do |_, batch|
        handled << batch.items
        release.pop
      end
      take(handled)
      worker.stop
      expect(worker).to be_stopped
      stream << 2
      release << nil
      expect(thread.value).to be_nil
      claim = subscriptions.claim(id, worker: "next")
      expect(claim.streams.first).to be_pending
      expect(stream.read_all(offset: claim.streams.first.acked_offset)).to eq([2])
      expect(handled).to be_empty
    end

    it "may be called from the block, before run, and twice" do
      stream_of(id, body: 1)
      worker = described_class.new(client, id)
      expect(worker.run { worker.stop }).to be_nil
      wait_until_acked(id, client.stream("#{id}/1"))
      2.times { worker.stop }
      expect(worker.run { raise "a stopped worker works" }).to be_nil
    end

    it "is not needed for another run, after an exception has ended the first one" do
      worker = described_class.new(client, id)
      expect { Timeout.timeout(0.5) { worker.run { handled << 0 } } }.to raise_error(Timeout::Error)
      expect(worker).not_to be_stopped
      stream_of(id, body: 1)
      worker.run do |_, batch|
        handled << batch.items
        worker.stop
      end
      expect(take(handled)).to eq([1])
    end

    it "ends a worker that waits" do
      worker, thread = work(id) { nil }
      wait_until("a claim") { thread.status == "sleep" && worker.name }
      expect(timed { worker.stop && thread.value }).to be < AtOnce::SECONDS
    end
  end

  it "claims under a name of the process, or a given one" do
    stream_of(id, body: 1)
    release = Queue.new
    worker, = work(id) { handled.push(1) && release.pop }
    take(handled)
    expect { subscriptions.claim(id, worker: "other") }
      .to raise_error(DurableStreams::AlreadyClaimedError) { |error| expect(error.current_holder).to eq(worker.name) }
    expect(worker.name).to match(/:#{Process.pid}:\h{6}\z/)
    release << nil
    expect(described_class.new(client, id, name: "a").name).to eq("a")
  end

  describe "#run raises" do
    def failure(ids = id, on: client, &block)
      block ||= proc {}
      _, thread = work(ids, on: on, &block)
      thread.value
    end

    it "StreamNotFoundError without such a subscription, or its wake stream" do
      expect(failure(unique))
        .to be_a(DurableStreams::StreamNotFoundError).and have_attributes(message: /no subscription/)
      subscriptions.create("#{id}-2", type: :pull_wake, pattern: "a/*", wake_stream: "wakes/none")
      expect(failure("#{id}-2"))
        .to be_a(DurableStreams::StreamNotFoundError).and have_attributes(message: %r{wakes/none.*not found})
    end

    it "ArgumentError for a webhook" do
      hook = unique
      subscriptions.create(hook, type: :webhook, url: "http://localhost:9", streams: ["a"])
      expect(failure(hook)).to be_a(ArgumentError).and have_attributes(message: /is a webhook/)
    end

    it "StreamNotFoundError when a subscription is deleted, after the blocks of others have returned" do
      other = subscribe
      stream = stream_of(other, body: 1)
      release = Queue.new
      _, thread = work([id, other]) { handled.push(1) && release.pop }
      take(handled)
      subscriptions.delete(id)
      wake = { type: "wake", subscription_id: id, stream: "#{id}/1", generation: 1, ts: 0 }
      client.stream("wakes/#{id}", content_type: :json) << wake
      expect(thread.join(0.5)).to be_nil
      release << nil
      expect(thread.value)
        .to be_a(DurableStreams::StreamNotFoundError).and have_attributes(message: /claim subscription/)
      wait_until_acked(other, stream)
    end

    it "what a value callable raises, when it raises at a claim" do
      fails = false
      headers = { "X" => -> { fails ? raise(KeyError, "no token") : "x" } }
      _, thread = work(id, on: client_of(server_url, headers: headers)) { handled << 1 }
      stream = stream_of(id, body: 1)
      take(handled)
      wait_until_acked(id, stream)
      fails = true
      stream << 2
      expect(thread.value).to be_a(KeyError)
    end

    it "StreamClosedError when the wake stream is closed" do
      _, thread = work(id) { handled << 1 }
      stream_of(id, body: 1)
      take(handled)
      client.stream("wakes/#{id}").close_stream
      expect(thread.value).to be_a(DurableStreams::StreamClosedError).and have_attributes(message: /wake stream/)
    end

    it "ThreadError while it runs" do
      worker, thread = work(id) { nil }
      wait_until("run") { thread.stop? && worker.name }
      expect { worker.run { nil } }.to raise_error(ThreadError, /already running/)
    end

    it "SubscriptionsNotSupportedError if the server has no subscriptions" do
      without = DurableStreams::Client.new(base_url: ServerHelpers.shared(:rust).url)
      expect(failure(on: without)).to be_a(DurableStreams::SubscriptionsNotSupportedError)
    end
  end

  it "raises ArgumentError for wrong arguments" do
    { [nil, id] => /client must be a DurableStreams::Client, got nil/,
      [client, nil] => /ids must be a String or an Array/, [client, []] => /at least one/,
      [client, [1]] => /ids must be a String or an Array of Strings, got Integer/ }.each do |arguments, message|
      expect { described_class.new(*arguments) }.to raise_error(ArgumentError, message)
    end
    { { name: "" } => /name must not be empty/, { name: 1 } => /name must be a String or nil/,
      { concurrency: 0 } => /concurrency must be an Integer from 1 to 1000/,
      { on_error: 1 } => /on_error must respond/ }
      .each do |options, message|
        expect { described_class.new(client, id, **options) }.to raise_error(ArgumentError, message)
      end
    expect { described_class.new(client, id).run }.to raise_error(ArgumentError, /requires a block/)
  end
end
