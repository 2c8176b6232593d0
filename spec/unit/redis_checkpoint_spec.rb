# frozen_string_literal: true

require "connection_pool"
require "redis"
require "securerandom"

RSpec.describe DurableStreams::Checkpoint::Redis do
  # As a client of the gem redis-client, which has no methods named after commands.
  let(:call_only) do
    Class.new do
      def initialize(redis)
        @redis = redis
      end

      def call(*command)
        @redis.call(*command)
      end
    end
  end
  # As every object under Rails 7.1 and later: its `with` yields nothing.
  let(:rails_with) do
    Module.new do
      def with
        yield
      end
    end
  end
  let(:key) { "orders-#{SecureRandom.hex(8)}" }
  let(:redis) { Redis.new(url: redis_url) }

  after { redis.close }

  def clients
    { "a client" => redis, "a client with nothing but call" => call_only.new(redis),
      "a client under Rails" => call_only.new(redis).extend(rails_with),
      "a pool" => ConnectionPool.new { Redis.new(url: redis_url) },
      "a pool of clients with nothing but call" => ConnectionPool.new { call_only.new(Redis.new(url: redis_url)) } }
  end

  it "stores the offset, and nothing else, under its key" do
    clients.each do |name, client|
      key = "#{self.key} #{name}"
      checkpoint = described_class.new(client, key)
      expect(checkpoint.load).to be_nil
      %w[1 2].each { |offset| checkpoint.save(offset) }
      expect([redis.get(key), described_class.new(client, key).load]).to eq(%w[2 2]), name
    end
  end

  it "works in forked children" do
    checkpoint = described_class.new(ConnectionPool.new { Redis.new(url: redis_url) }, key)
    checkpoint.save("1")
    expect(ChildProcess.run { described_class.new(Redis.new(url: redis_url), key).load }).to eq("1")
  end

  it "raises what the client raises" do
    gone = described_class.new(Redis.new(url: "redis://127.0.0.1:1/0", reconnect_attempts: 0), key)
    expect { gone.load }.to raise_error(Redis::CannotConnectError)
    expect { gone.save("1") }.to raise_error(Redis::CannotConnectError)
  end

  it "does not take anything else for an offset" do
    redis.set(key, "an offset")
    expect { described_class.new(redis, key).load }.to raise_error(
      DurableStreams::CheckpointError, "cannot load the checkpoint: Redis key #{key} does not have an offset, but " \
                                       "\"an offset\". Write an offset, or delete it to begin anew"
    )
  end

  it "raises ArgumentError for invalid arguments" do
    expect { described_class.new(redis_url, key) }
      .to raise_error(ArgumentError, "redis must be a Redis, a RedisClient, or a ConnectionPool of them, got String")
    ["", nil, 7].each do |key|
      message = "key must be a String or Symbol, and not empty, got "
      expect { described_class.new(redis, key) }.to raise_error(ArgumentError, /\A#{message}/)
    end
    expect { described_class.new(redis, :orders).save("") }.to raise_error(ArgumentError, /offset must be an offset/)
  end

  it "shows its key" do
    expect(described_class.new(redis, :orders).inspect).to eq("#<DurableStreams::Checkpoint::Redis orders>")
  end
end
