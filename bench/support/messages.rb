# frozen_string_literal: true

module Bench
  # The messages that the lines append and read. The same numbers give the same messages in every process.
  module Messages
    SEED = 20_251_121
    LETTERS = [*"a".."z", *"0".."9", " "].freeze
    FIRST_ID = 1_000_000
    # Random text from which each message's note is cut, so that consecutive messages differ.
    POOL = Random.new(SEED).then { |random| Array.new(65_536) { LETTERS[random.rand(LETTERS.size)] }.join.freeze }

    module_function

    # @param count [Integer]
    # @param bytes [Integer] exact size of each message
    # @param first [Integer] number of the first message
    # @return [Array<String>] JSON objects of four keys
    def json(count, bytes: 103, first: 0)
      random = Random.new(SEED + first)
      Array.new(count) do |index|
        id = FIRST_ID + first + index
        head = "{\"id\":#{id},\"type\":\"order.created\",\"user\":\"user-#{10_000 + random.rand(90_000)}\",\"note\":\""
        length = bytes - head.bytesize - 2
        "#{head}#{POOL[random.rand(POOL.size - length), length]}\"}"
      end
    end

    # @param messages [Array<String>]
    # @return [String] the body of a request or response with these messages
    def array(messages)
      "[#{messages.join(",")}]"
    end

    # @param megabytes [Integer] of 2^20 bytes
    # @return [Enumerator<String>] binary Strings of one megabyte each
    def blocks(megabytes)
      random = Random.new(SEED)
      block = random.bytes(1 << 20)
      Enumerator.new { |out| megabytes.times { |number| out << [number].pack("N") + block.byteslice(4..) } }
    end
  end
end
