# frozen_string_literal: true

# Redirects of writes: 307 and 308 are followed, and the next write goes to the last one's target at once.
RSpec.describe "Redirected writes", :faults do
  let(:leader) { FaultServer.start }
  let(:secrets) { { headers: { "Authorization" => "Bearer s3cret" }, params: { "own" => "fixed" } } }

  after { leader.stop }

  # Scripts a redirect of every request to the leader.
  def redirect_all(status = 307)
    faults.on { |reply| reply.redirect(leader.url("/s"), status) }
  end

  def client_for(**options)
    fault_client(trusted_origins: [leader.url], **options)
  end

  FaultHelpers::REQUESTS.each do |name, kind|
    [307, 308].each do |status|
      it "follow a #{status} (#{name}), with the body and the headers for a trusted origin" do
        redirect_all(status)
        leader.on { |reply| kind.respond_to(reply) }
        result = kind.send_on(client_for(**secrets).stream("/s", content_type: :json))
        expect(kind).to be_success(result)
        sent = [faults, leader].map { |server| server.wait_for_request(1) }
        expect(sent.map(&:verb)).to eq([kind.verb] * 2)
        expect(sent.map(&:body).uniq.size).to eq(1)
        expect(sent.last.header("authorization")).to eq("Bearer s3cret")
        expect(sent.last.query).to be_nil
      end
    end

    next if kind.verb == "HEAD"

    [301, 302, 303].each do |status|
      it "do not follow a #{status} (#{name}), which would make it a GET" do
        redirect_all(status)
        stream = client_for.stream("/s", content_type: :json)
        expect { kind.send_on(stream) }
          .to raise_error(DurableStreams::FetchError) { |error| expect(error.status).to eq(status) }
        expect(leader.requests).to be_empty
      end
    end

    it "do not take the user's headers to an origin that is not trusted (#{name})" do
      redirect_all
      leader.on { |reply| kind.respond_to(reply) }
      kind.send_on(fault_client(**secrets).stream("/s", content_type: :json))
      expect(leader.wait_for_request(1).headers.flatten.join).not_to include("s3cret")
    end
  end

  it "go to the remembered target until it fails, then to the original URL again" do
    redirect_all
    leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
    stream = client_for.stream("/s", content_type: :json)
    3.times { stream.append(1) }
    expect([faults, leader].map { |server| server.requests.size }).to eq([1, 3])

    leader.next { |reply| reply.respond(429) }
    stream.append(1)
    expect([faults, leader].map { |server| server.requests.size }).to eq([2, 5])
  end

  it "begin at the original URL again after a lost response, where the write may be sent again" do
    redirect_all
    leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
    stream = client_for.stream("/s", content_type: :json)
    stream.append(1, seq: "1")
    leader.next(&:rst)
    stream.append(1, seq: "2")
    expect([faults, leader].map { |server| server.requests.size }).to eq([2, 3])
  end

  [401, 403, 404, 410, 421].each do |status|
    it "go to the original URL at once if the remembered target responds with #{status}" do
      2.times { faults.next("POST") { |reply| reply.redirect(leader.url("/s")) } }
      faults.on { |reply| reply.respond(200, "stream-next-offset" => "8", "producer-seq" => "1") }
      leader.next { |reply| reply.respond(200, "stream-next-offset" => "7") }
      leader.on { |reply| reply.respond(status) }
      stream = client_for(**secrets).stream("/s", content_type: :json)
      expect(stream.append(1).next_offset).to eq("7")
      expect { stream.append(2) }.to raise_error(DurableStreams::DurableStreamError) { |error|
        expect(error).to have_attributes(status: status, outcome_unknown?: false)
      }
      expect([faults, leader].map { |server| server.requests.size }).to eq([2, 3])
      expect(stream.append(3).next_offset).to eq("8")
      expect(faults.requests.last.header("authorization")).to eq("Bearer s3cret")
    end

    it "do not end a producer if the remembered target responds with #{status}" do
      faults.next("POST") { |reply| reply.redirect(leader.url("/s")) }
      faults.on { |reply| reply.respond(200, "stream-next-offset" => "8", "producer-seq" => "1") }
      leader.next { |reply| reply.respond(200, "stream-next-offset" => "7") }
      leader.on { |reply| reply.respond(status) }
      stream = client_for.stream("/s", content_type: :json)
      DurableStreams::Producer.open(stream: stream, producer_id: "p", next_seq: 0) do |producer|
        expect(Array.new(3) { |n| producer.append!(n).next_offset }).to eq(%w[7 8 8])
      end
      expect([faults, leader].map { |server| server.requests.size }).to eq([3, 2])
    end
  end

  it "do not remember the targets of reads, nor read from the targets of writes" do
    faults.on("POST") { |reply| reply.redirect(leader.url("/s")) }
    faults.on("GET") { |reply| reply.read("[1]", next_offset: "1", up_to_date: true) }
    leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
    stream = client_for.stream("/s", content_type: :json)
    stream.append(1)
    expect(stream.read_json.to_a).to eq([1])
    expect(leader.requests.map(&:verb)).to eq(["POST"])
  end

  it "try again when two servers redirect to each other, since neither has stored anything" do
    redirect_all
    leader.next { |reply| reply.redirect(faults.url("/s")) }
    leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
    expect(client_for.stream("/s", content_type: :json).append(1).next_offset).to eq("7")
    expect([faults, leader].map { |server| server.requests.size }).to eq([2, 2])
  end

  it "try again when the target is not there" do
    dead = FaultServer.start
    faults.next { |reply| reply.redirect(dead.url("/s")) }
    dead.stop
    faults.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
    expect(client_for.stream("/s", content_type: :json).append(1).next_offset).to eq("7")
    expect(faults.requests.size).to eq(2)
  end

  it "carry a producer's batches to the leader" do
    redirect_all
    leader.on { |reply| reply.respond(200, "stream-next-offset" => "7") }
    stream = client_for(**secrets).stream("/s", content_type: :json)
    producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", next_seq: 0)
    2.times { producer.append!(1) }
    producer.close
    expect(faults.requests.size).to eq(1)
    expect(leader.requests.map { |request| request.header("producer-seq") }).to eq(%w[0 1])
    expect(leader.requests.map { |request| request.header("authorization") }.uniq).to eq(["Bearer s3cret"])
  end

  describe "with trusted_origins as a callable" do
    let(:seen) { [] }

    def client_trusting(**options, &trusts)
      fault_client(trusted_origins: ->(origin) { seen << [origin, Thread.current] && trusts.call }, **options)
    end

    it "have it decide on the caller's thread, with the origin" do
      redirect_all
      leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
      [true, false].each do |trusted|
        seen.clear
        client_trusting(**secrets) { trusted }.stream("/s", content_type: :json).append(1)
        expect(seen).to eq([[leader.url, Thread.current]])
        expect(leader.requests.last.header("authorization")).to eq(trusted ? "Bearer s3cret" : nil)
      end
    end

    it "raise what it raises" do
      redirect_all
      stream = client_trusting { raise KeyError, "no such node" }.stream("/s", content_type: :json)
      expect { stream.append(1) }.to raise_error(KeyError, "no such node")
      expect { stream.append(1, seq: "1") }.to raise_error(KeyError, "no such node")
      expect(leader.requests).to be_empty
    end

    it "have it decide for a producer too" do
      redirect_all
      leader.on { |reply| reply.respond(200, "stream-next-offset" => "7") }
      stream = client_trusting(**secrets) { true }.stream("/s", content_type: :json)
      DurableStreams::Producer.open(stream: stream, producer_id: "p", next_seq: 0) { |producer| producer << 1 }
      expect(leader.requests.map { |request| request.header("authorization") }).to eq(["Bearer s3cret"])
      expect(seen.map(&:first)).to eq([leader.url])
    end

    it "may append to the same stream from within" do
      redirect_all
      leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
      stream = nil
      nested = 0
      stream = client_trusting { (nested += 1) > 1 || stream.append(2) }.stream("/s", content_type: :json)
      stream.append(1)
      expect(leader.requests.map(&:body)).to eq(%w[[2] [1]])
    end

    it "may wait for an append of another thread to the same stream" do
      faults.next { |reply| reply.wait(:go).respond(204, "stream-next-offset" => "7") }
      redirect_all
      leader.on { |reply| reply.respond(204, "stream-next-offset" => "7") }
      nested = 0
      stream = client_trusting { (nested += 1) > 1 || in_thread { stream.append(2) }.value }
               .stream("/s", content_type: :json)
      first = in_thread { stream.append(0) }
      faults.wait_until_waiting(:go)
      second = in_thread { stream.append(1) }
      Thread.pass until second.stop?
      faults.open(:go)
      expect([first, second].map { |thread| thread.join(AtOnce::SECONDS)&.value&.next_offset }).to eq(%w[7 7])
      expect(leader.requests.map(&:body)).to eq(%w[[2] [1]])
    end
  end
end
