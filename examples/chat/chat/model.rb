# frozen_string_literal: true

require "zlib"
require_relative "replies"

module Chat
  # Behaves like a language model: it replies to a prompt token by token, with a model's pauses. The text comes from
  # {Replies}. The same seed, prompt and reply id give the same tokens, so that a reply can go on after a restart.
  # (A real model goes on in another way: it gets the beginning of the reply with the prompt.)
  class Model
    # A piece of a reply, and how many seconds the model takes before it.
    Token = Struct.new(:text, :pause)

    # Seconds. A model thinks before its reply, and takes longer where a sentence or paragraph begins.
    THINKING = 0.6
    WORD = 0.035
    SENTENCE = 0.16
    PARAGRAPH = 0.3
    # Characters of a word that come as one token.
    LONGEST = 8

    # @param seed [Integer]
    # @param speed [Numeric] 2: twice as fast
    def initialize(seed: 0, speed: 1)
      @seed = seed
      @speed = speed
    end

    # @param prompt [String]
    # @param id [String] of the reply
    # @return [Array<Token>]
    def reply(prompt, id)
      random = Random.new(Zlib.crc32("#{@seed} #{id}"))
      before = nil
      pieces(Replies.to(prompt, random)).map do |text|
        seconds = pause(before, text) * random.rand(0.5..1.6) / @speed
        before = text
        Token.new(text, seconds)
      end
    end

    private

    # Words with the space before them, the long ones in several pieces.
    def pieces(text)
      text.scan(/\s*\S+|\s+\z/).flat_map { |word| word.scan(/\A\s*\S{1,#{LONGEST}}|\S{1,#{LONGEST}}|\s+/) }
    end

    def pause(before, text)
      return THINKING if before.nil?
      return PARAGRAPH if text.start_with?("\n\n")

      before.match?(/[.!?:]\z/) ? SENTENCE : WORD
    end
  end
end
