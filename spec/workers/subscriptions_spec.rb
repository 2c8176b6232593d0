# frozen_string_literal: true

require "socket"

# The requests of the subscription APIs, line by line.
on_server_with_subscriptions DurableStreams::Subscriptions do
  let(:id) { unique }
  let(:wake_stream) { "wakes/#{id}" }
  let(:pull) { { type: :pull_wake, pattern: "#{id}/*", wake_stream: wake_stream } }

  def ends_of(streams)
    streams.to_h { |stream| [stream.path, stream.acked_offset] }
  end

  describe "#create" do
    it "creates a pull-wake subscription, or confirms the same one" do
      created = subscriptions.create(id, **pull, lease_ttl: 1.5, description: "Bestellungen für später")
      expect(created).to be_a(DurableStreams::Subscription).and be_frozen
      expect(created).to have_attributes(id: id, type: :pull_wake, pattern: "#{id}/*", streams: [], url: nil,
                                         wake_stream: wake_stream, lease_ttl: 1.5, status: :active,
                                         description: "Bestellungen für später", created_at: be_within(60).of(Time.now))
      again = subscriptions.create(id, **pull, lease_ttl: 1.5, description: "Bestellungen für später")
      expect(again).to eq(created)
    end

    it "raises SubscriptionExistsError for another configuration" do
      subscriptions.create(id, **pull)
      expect { subscriptions.create(id, **pull, lease_ttl: 31) }
        .to raise_error(DurableStreams::SubscriptionExistsError, /create subscription.*another configuration/) { |error|
          expect(error).to have_attributes(status: 409, code: "SUBSCRIPTION_EXISTS", outcome_unknown?: false)
        }
      expect(subscriptions.find(id).lease_ttl).to eq(30)
    end

    it "creates a webhook subscription, which names the key of the server's signatures" do
      made = subscriptions.create(id, type: :webhook, url: "http://localhost:9/hooks", streams: ["#{id}/out"])
      keys = JSON.parse(subscriptions.signing_keys).fetch("keys")
      expect(made).to have_attributes(type: :webhook, url: "http://localhost:9/hooks", wake_stream: nil, pattern: nil)
      expect(made.signing).to include(alg: "ed25519", kid: keys.first["kid"], jwks_url: end_with("/__ds/jwks.json"))
      expect(made.streams.first).to have_attributes(path: "#{id}/out", link_type: :explicit)
    end

    it "raises BadRequestError for a URL that the server does not call" do
      expect { subscriptions.create(id, type: :webhook, url: "https://10.0.0.1/hooks", streams: ["a"]) }
        .to raise_error(DurableStreams::BadRequestError, /WEBHOOK_URL_REJECTED.*private/)
    end

    it "links existing streams at their ends" do
      stream = client.create("#{id}/1", content_type: :json)
      stream << 1
      expect(ends_of(subscriptions.create(id, **pull).streams)).to eq("#{id}/1" => stream.head.next_offset)
      expect(subscriptions.claim(id, worker: "w")).to be_nil
    end

    it "takes streams, and paths as requests do" do
      stream = client.stream("#{id}/with space")
      created = subscriptions.create(id, type: :pull_wake, streams: [stream, "/#{id}/über"], wake_stream: wake_stream)
      expect(created.streams.map(&:path)).to eq(["#{id}/with%20space", "#{id}/%C3%BCber"])
      expect(stream.path).to eq("#{id}/with%20space")
    end

    it "raises ArgumentError for what no server accepts" do
      none = { type: :pull_wake, wake_stream: "w" }
      { { **pull, type: "pull-wake" } => /type must be :pull_wake or :webhook/,
        none => /pattern, or streams/,
        { **none, streams: "a" } => /streams must be an Array/,
        { **none, streams: [1] } => /stream must be a path or a Stream, got Integer/,
        { **none, pattern: 1 } => /pattern must be a String, got Integer/,
        { type: :pull_wake, pattern: "a" } => /needs wake_stream/,
        { **pull, url: "http://localhost" } => /no url/,
        { type: :webhook, pattern: "a" } => /needs url/,
        { **pull, lease_ttl: 0.9 } => /lease_ttl must be seconds from 1 to 600, got 0.9/,
        { **pull, lease_ttl: "1" } => /lease_ttl must be seconds/,
        { **pull, description: :d } => /description must be a String, got Symbol/ }.each do |options, message|
        expect { subscriptions.create(id, **options) }.to raise_error(ArgumentError, message)
      end
      { nil => /id must be a String, got nil/, "" => /must not be empty/, ".." => /must not/ }
        .each { |wrong, message| expect { subscriptions.find(wrong) }.to raise_error(ArgumentError, message) }
      expect { DurableStreams::Client.new.subscriptions.find(id) }.to raise_error(ArgumentError, /no base_url/)
    end
  end

  it "finds and deletes subscriptions with any id" do
    [id, "#{id}/a b?c#d%41", "#{id}-ü"].each do |name|
      expect(subscriptions.find(name)).to be_nil
      subscriptions.create(name, **pull)
      expect(subscriptions.find(name).id).to eq(name)
      expect(subscriptions.delete(name)).to be_nil
      expect(subscriptions.find(name)).to be_nil
      expect(subscriptions.delete(name)).to be_nil
    end
  end

  describe "#add_streams and #remove_stream" do
    before { subscriptions.create(id, **pull) }

    it "link streams at their ends, and remove the links" do
      stream = client.create("other/#{id}", content_type: :json)
      stream << 1
      2.times { expect(subscriptions.add_streams(id, stream, "other/#{id}/a b")).to be_nil }
      expect(ends_of(subscriptions.find(id).streams))
        .to match("other/#{id}" => stream.head.next_offset, "other/#{id}/a%20b" => String)
      2.times { expect(subscriptions.remove_stream(id, "other/#{id}/a b")).to be_nil }
      expect(subscriptions.find(id).streams.map(&:path)).to eq(["other/#{id}"])
    end

    it "leave the link by the pattern" do
      stream = client.create("#{id}/1", content_type: :json)
      subscriptions.add_streams(id, stream)
      stream << 1
      expect(subscriptions.find(id).streams.map(&:link_type)).to eq([:explicit])
      subscriptions.remove_stream(id, stream)
      expect(subscriptions.find(id).streams.map(&:link_type)).to eq([:glob])
    end

    it "raise StreamNotFoundError without such a subscription" do
      none = unique
      [-> { subscriptions.add_streams(none, "a") }, -> { subscriptions.remove_stream(none, "a") }].each do |request|
        expect(&request).to raise_error(DurableStreams::StreamNotFoundError, /subscription not found/)
      end
      expect { subscriptions.add_streams(id) }.to raise_error(ArgumentError, /at least one stream/)
    end
  end

  describe "#claim" do
    let(:stream) { client.create("#{id}/1", content_type: :json) }

    before do
      client.create(wake_stream, content_type: :json)
      subscriptions.create(id, **pull, lease_ttl: 1)
    end

    it "is granted to one worker, after a wake" do
      expect(subscriptions.claim(id, worker: "w")).to be_nil
      stream << 1
      wake = { "type" => "wake", "subscription_id" => id, "stream" => "#{id}/1", "generation" => 1 }
      expect(client.stream(wake_stream).read_all).to match([a_hash_including(wake)])
      claim = subscriptions.claim(id, worker: "first")
      expect(claim).to have_attributes(generation: 1, lease_ttl: 1, wake_id: String)
      tail = stream.head.next_offset
      expect(claim.streams.map(&:to_h))
        .to eq([{ path: "#{id}/1", link_type: :glob, acked_offset: "-1", tail_offset: tail, pending: true }])
      expect(claim.streams.first).to be_pending
      expect { subscriptions.claim(id, worker: "second") }
        .to raise_error(DurableStreams::AlreadyClaimedError) { |error|
          expect(error).to have_attributes(status: 409, code: "ALREADY_CLAIMED", current_holder: "first", generation: 1)
        }
    end

    it "can be acked, and ends with done" do
      stream << 1
      claim = subscriptions.claim(id, worker: "w")
      tail = claim.streams.first.tail_offset
      expect(claim.ack({ "#{id}/1" => tail })).to be(false)
      expect(subscriptions.find(id).streams.first.acked_offset).to eq(tail)
      stream << 2
      expect(claim.ack(done: true)).to be(true)
      expect(claim.inspect).to eq("#<DurableStreams::Claim wake_id=#{claim.wake_id.inspect} generation=1>")
      expect(subscriptions.claim(id, worker: "w").generation).to eq(2)
    end

    it "can be released" do
      stream << 1
      claim = subscriptions.claim(id, worker: "w")
      expect(claim.release).to be_nil
      expect(subscriptions.claim(id, worker: "w").generation).to eq(2)
    end

    it "is fenced after its end" do
      stream << 1
      claim = subscriptions.claim(id, worker: "w")
      tail = claim.streams.first.tail_offset
      claim.release
      ends = [-> { claim.ack({ "#{id}/1" => tail }) }, -> { claim.ack(done: true) }, -> { claim.release }]
      ends.each do |request|
        expect(&request).to raise_error(DurableStreams::FencedError) { |error|
          expect(error).to have_attributes(status: 409, code: "FENCED", retryable?: false, outcome_unknown?: false)
        }
      end
      expect(subscriptions.find(id).streams.first.acked_offset).to eq("-1")
    end

    it "ends with its lease, which wakes again" do
      stream << 1
      claim = subscriptions.claim(id, worker: "w")
      wakes = client.stream(wake_stream).read_json(live: :auto)
      expect(wakes.first(2).map { |wake| wake["generation"] }).to eq([1, 2])
      expect { claim.ack }.to raise_error(DurableStreams::FencedError)
    end

    it "refuses the ack of an offset that the stream does not have" do
      stream << 1
      claim = subscriptions.claim(id, worker: "w")
      ["-1", "9" * 33].each do |offset|
        expect { claim.ack({ "#{id}/1" => offset }) }.to raise_error(DurableStreams::FetchError, /INVALID_OFFSET/)
      end
      expect { claim.ack({ "unknown" => claim.streams.first.tail_offset }) }
        .to raise_error(DurableStreams::FetchError, /INVALID_OFFSET/)
    end

    it "raises for other subscriptions" do
      expect { subscriptions.claim(unique, worker: "w") }.to raise_error(DurableStreams::StreamNotFoundError)
      expect { subscriptions.claim(id, worker: "") }.to raise_error(ArgumentError, /worker must be a String.*got ""/)
      subscriptions.create("#{id}-hook", type: :webhook, url: "http://localhost:9", streams: ["a"])
      expect { subscriptions.claim("#{id}-hook", worker: "w") }
        .to raise_error(DurableStreams::BadRequestError, /not pull-wake/)
    end
  end
end

RSpec.describe DurableStreams::Subscriptions, "without a server that has them" do
  requests = {
    "create" => ->(subscriptions) { subscriptions.create("s", type: :pull_wake, pattern: "a/*", wake_stream: "w") },
    "find" => ->(subscriptions) { subscriptions.find("s") },
    "delete" => ->(subscriptions) { subscriptions.delete("s") },
    "add_streams" => ->(subscriptions) { subscriptions.add_streams("s", "a") },
    "remove_stream" => ->(subscriptions) { subscriptions.remove_stream("s", "a") },
    "claim" => ->(subscriptions) { subscriptions.claim("s", worker: "w") },
    "the signing keys" => ->(subscriptions) { subscriptions.signing_keys }
  }

  requests.each do |name, request|
    it "raises SubscriptionsNotSupportedError for #{name}, and leaves no stream behind" do
      client = DurableStreams::Client.new(base_url: unique_url)
      expect { request.call(client.subscriptions) }
        .to raise_error(DurableStreams::SubscriptionsNotSupportedError, /the server has no subscriptions.*stream root/)
      expect(client.stream("__ds/subscriptions/s")).not_to exist
    end
  end

  it "finds no subscription in an ordinary stream" do
    client = DurableStreams::Client.new(base_url: unique_url)
    client.create("__ds/subscriptions/s", content_type: :json, body: { id: "s" })
    expect { client.subscriptions.find("s") }
      .to raise_error(DurableStreams::SubscriptionsNotSupportedError, /describes no subscription/)
  end
end
