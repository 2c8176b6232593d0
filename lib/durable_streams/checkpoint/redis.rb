# frozen_string_literal: true

module DurableStreams
  module Checkpoint
    # An offset under a Redis key. It is as durable as Redis is configured: if Redis loses its last writes, the consumer
    # repeats their batches.
    class Redis
      # @param redis [Redis, RedisClient, ConnectionPool] of the gems redis or redis-client, or a pool of such clients:
      #   an object that responds to `get` and `set`, to `call`, or to `with`
      # @param key [String, Symbol]
      # @raise [ArgumentError] if an argument is invalid
      def initialize(redis, key)
        unless %i[get call with].any? { |method| redis.respond_to?(method) }
          raise ArgumentError, "redis must be a Redis, a RedisClient, or a ConnectionPool of them, got " \
                               "#{Options.class_of(redis)}"
        end

        @redis = redis
        @key = Checkpoint.check_name(key, "key")
      end

      # @return [String, nil]
      # @raise [CheckpointError] if the value is no offset
      # @raise [StandardError] what the Redis client raises
      def load
        offset = with_client { |client| client.respond_to?(:get) ? client.get(@key) : client.call("GET", @key) }
        Checkpoint.check_loaded(offset, "Redis key #{@key}")
      end

      # @param offset [String]
      # @return [nil]
      # @raise [ArgumentError] if it cannot be an offset
      # @raise [StandardError] what the Redis client raises
      def save(offset)
        Checkpoint.check_offset(offset)
        with_client do |client|
          client.respond_to?(:set) ? client.set(@key, offset) : client.call("SET", @key, offset)
        end
        nil
      end

      # @return [String]
      def inspect
        "#<#{self.class} #{@key}>"
      end

      private

      # Tests for `with` last: under Rails 7.1 and later, all objects respond to it.
      def with_client(&block)
        return yield @redis if @redis.respond_to?(:get) || @redis.respond_to?(:call)

        @redis.with(&block)
      end
    end
  end
end
