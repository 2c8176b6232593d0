# frozen_string_literal: true

# What fails: blocks, requests, connections and the server.
on_server_with_subscriptions DurableStreams::Worker, "with failures", :faults do
  include_context "with log lines"

  let(:id) { subscribe(lease_ttl: 1) }
  let(:handled) { Queue.new }
  let(:errors) { Queue.new }
  # A client whose requests pass the fault server.
  let(:proxied) { client_of(faults.url) }

  before { faults.proxy(server_url) }

  describe "a block that raises" do
    it "is run again for the same batch, after on_error" do
      stream = stream_of(id, body: 1)
      tries = 0
      work(id, on_error: ->(error, failed) { errors << [error.class, error.message, failed.path] }) do |_, batch|
        raise NotImplementedError, "not yet" if (tries += 1) == 1

        handled << batch.items
      end
      expect(take(errors)).to eq([NotImplementedError, "not yet", stream.path])
      expect(take(handled)).to eq([1])
      wait_until_acked(id, stream)
      expect(log_lines.grep(/ERROR/)).to eq([])
    end

    it "gives the claim back" do
      stream_of(id, body: 1)
      _, thread = work(id, on_error: ->(*) { errors << 1 }) { raise "on purpose" }
      take(errors)
      wait_until("a claim by another worker") { claim_or_nil }
      expect(thread).to be_alive
    end

    it "does not keep other streams waiting" do
      stream_of(id, "bad", body: 1)
      work(id, concurrency: 1, on_error: ->(*) { errors << 1 }) do |stream, batch|
        raise "on purpose" if stream.path.end_with?("bad")

        handled << batch.items
      end
      2.times { take(errors) }
      good = stream_of(id, "good")
      2.times do |n|
        good << n
        expect(take(handled)).to eq([n])
      end
      expect(errors.size).to be < 4
    end

    it "is logged without on_error, and so is an on_error that raises" do
      stream_of(id, "1", body: 1)
      worker, thread = work(id) { raise "on purpose" }
      wait_until("a line") { log_lines.any? }
      worker.stop
      thread.join
      line = %r{\AERROR .*a worker failed at stream "#{id}/1": RuntimeError: on purpose \(.*_spec}
      expect(log_lines.first).to match(line)
      log_lines.clear
      work(id, on_error: ->(*) { raise IOError, "twice" }) { raise "on purpose" }
      wait_until("two lines") { log_lines.size > 1 }
      expect(log_lines).to include(/on purpose/, /on_error of a worker raised IOError: twice/)
    end

    it "cannot end run by break" do
      stream_of(id, body: 1)
      _, thread = work(id, on_error: ->(error, _) { errors << error }) { break }
      expect(take(errors)).to be_a(LocalJumpError)
      expect(thread).to be_alive
    end
  end

  def claim_or_nil
    subscriptions.claim(id, worker: "other")
  rescue DurableStreams::AlreadyClaimedError
    nil
  end

  # The generation of the worker's claim, or nil.
  def holding_generation
    subscriptions.claim(id, worker: "other")&.release
  rescue DurableStreams::AlreadyClaimedError => e
    e.generation
  end

  describe "a lost claim" do
    it "raises FencedError at the next ack, and its batch is handled again" do
      stream = stream_of(id, body: 1)
      release = Queue.new
      work(id, on: proxied, on_error: ->(error, _) { errors << error }) do |_, batch|
        handled << [:first, batch.items]
        release.pop
      end
      take(handled)
      faults.on("POST", %r{/ack\z}, &:rst)
      work(id) { |_, batch| handled << [:second, batch.items] }
      expect(take(handled)).to eq([:second, [1]])
      wait_until_acked(id, stream)
      faults.proxy(server_url)
      release << nil
      expect(take(errors)).to be_a(DurableStreams::FencedError).and have_attributes(message: /ack to subscription/)
      expect(log_lines.grep(/the claim of subscription "#{id}" \(generation 1\) was lost/).size).to eq(1)
      stream << 2
      expect(take(handled).last).to eq([2])
    end

    it "does not let the same worker run two blocks of a stream" do
      stream_of(id, body: 1)
      release = Queue.new
      work(id, on: proxied, on_error: ->(error, _) { errors << error }) do |_, batch|
        handled << batch.items
        release.pop
      end
      take(handled)
      faults.next("POST", %r{/ack\z}) { |reply| reply.respond(409, '{"error":{"code":"FENCED"}}') }
      wait_until("its next claim") { holding_generation.to_i > 1 }
      expect(handled).to be_empty
      release << nil
      expect(take(errors)).to be_a(DurableStreams::FencedError)
      expect(take(handled)).to eq([1])
      release << nil
    end

    it "whose response was lost ends with its lease" do
      stream = stream_of(id, body: 1)
      faults.next("POST", %r{/claim\z}) { |reply| reply.forward(server_url).rst }
      work(id, on: proxied) { |_, batch| handled << batch.items }
      expect(take(handled)).to eq([1])
      wait_until_acked(id, stream)
      expect(subscriptions.claim(id, worker: "other")).to be_nil
    end

    it "is given back although the response to its last ack was lost" do
      stream = stream_of(id, body: 1)
      faults.next("POST", %r{/ack\z}) { |reply| reply.forward(server_url).rst }
      work(id, on: proxied, on_error: ->(error, _) { errors << error }) { |_, batch| handled << batch.items }
      expect(take(handled)).to eq([1])
      wait_until_acked(id, stream)
      stream << 2
      expect(take(handled)).to eq([2])
      expect(errors).to be_empty
    end
  end

  it "ends if it is stopped while it claims, and gives that claim back" do
    stream_of(id, body: 1)
    faults.next("POST", %r{/claim\z}) { |reply| reply.wait(:claim).forward(server_url).send_response }
    worker, thread = work(id, on: proxied) { |_, batch| handled << batch.items }
    faults.wait_until_waiting(:claim)
    worker.stop
    faults.open(:claim)
    expect(thread.join(ChildProcess::TIMEOUT)).to eq(thread)
    expect([subscriptions.claim(id, worker: "next").generation, handled.size]).to eq([2, 0])
  end

  it "handles other subscriptions with its only thread while the response to a claim is missing" do
    other = subscribe
    [id, other].each { |each_id| stream_of(each_id, body: 1) }
    faults.on("POST", %r{/#{id}/claim\z}) { |reply| reply.wait(:claim).forward(server_url).send_response }
    work([other, id], on: proxied, concurrency: 1) { |stream, _| handled << stream.path }
    faults.wait_until_waiting(:claim)
    expect(take(handled)).to eq("#{other}/1")
    faults.open(:claim)
    expect(take(handled)).to eq("#{id}/1")
  end

  it "acks other streams although one was removed meanwhile" do
    streams = %w[1 2].map { |name| stream_of(id, name, body: name) }
    release = Queue.new
    work(id, on_error: ->(error, stream) { errors << [stream.path, error] }) do |_, batch|
      handled << batch.items
      release.pop
    end
    2.times { take(handled) }
    streams.first.delete
    2.times { release << nil }
    path, error = take(errors)
    expect([path, error]).to match([streams.first.path, an_object_having_attributes(message: /INVALID_OFFSET/)])
    wait_until_acked(id, streams.last)
  end

  it "goes on after an outage, which is logged once" do
    stream = stream_of(id, body: 1)
    work(id, on: proxied, on_error: ->(*) {}) { |_, batch| handled << batch.items }
    take(handled)
    wait_until_acked(id, stream)
    faults.refuse_connections
    faults.on(&:rst)
    stream << 2
    # The reader of the wake stream and the claim.
    wait_until("an outage") { log_lines.grep(/outage: /).any? }
    faults.accept_connections
    faults.proxy(server_url)
    expect(take(handled)).to eq([2])
    wait_until("its end") { log_lines.grep(/outage over/).any? }
    expect(log_lines.grep(/outage: read/).size).to be <= 1
  end

  it "claims once more, with a new value of a callable, after a 401" do
    values = 0
    headers = { "X-Token" => -> { (values += 1).to_s } }
    faults.next("POST", %r{/claim\z}) { |reply| reply.respond(401) }
    stream_of(id, body: 1)
    work(id, on: client_of(faults.url, headers: headers)) { |_, batch| handled << batch.items }
    expect(take(handled)).to eq([1])
    claims = Array.new(2) { |n| faults.wait_for_request(n + 1, method: "POST", path: %r{/claim\z}).header("x-token") }
    expect(claims.uniq).to eq(claims)
  end

  it "reports what a read raises, and reads again" do
    stream = stream_of(id, body: 1)
    faults.on("GET", "/v1/stream/#{stream.path}") { |reply| reply.respond(403) }
    work(id, on: proxied, on_error: ->(error, failed) { errors << [error.class, failed.path] }) do |_, batch|
      handled << batch.items
    end
    expect(take(errors)).to eq([DurableStreams::ForbiddenError, stream.path])
    faults.proxy(server_url)
    expect(take(handled)).to eq([1])
  end
end
