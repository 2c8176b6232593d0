# frozen_string_literal: true

module Bench
  # What is appended and read: JSON texts of one exact size, the same ones for the same numbers, in every process.
  module Messages
    SEED = 20_251_121
    LETTERS = [*"a".."z", *"0".."9", " "].freeze
    FIRST_ID = 1_000_000
    # Text to cut notes from, so that no two neighbours are alike.
    POOL = Random.new(SEED).then { |random| Array.new(65_536) { LETTERS[random.rand(LETTERS.size)] }.join.freeze }

    module_function

    # @param count [Integer]
    # @param bytes [Integer] size of each
    # @param first [Integer] number of the first
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
    # @return [String] the body that holds them, which is also what a server answers
    def array(messages)
      "[#{messages.join(",")}]"
    end

    # @param megabytes [Integer] of 2^20 bytes
    # @return [Enumerator<String>] binary texts of one of these each
    def blocks(megabytes)
      random = Random.new(SEED)
      block = random.bytes(1 << 20)
      Enumerator.new { |out| megabytes.times { |number| out << [number].pack("N") + block.byteslice(4..) } }
    end
  end
end
