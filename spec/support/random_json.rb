# frozen_string_literal: true

# Random JSON texts, the same ones for the same seed.
class RandomJSON
  BLANKS = ["", "", "", " ", "\n", "\t\r\n  "].freeze
  PARTS = ["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u00e9", "\\ud83d\\ude00", "[", "]",
           "{", "}", ",", ":", "é", "漢字", "😀", "plain text, some", "a" * 40, "\u007f", "\u2028", " "].freeze
  NUMBERS = %w[0 -0 -0.0 0e1 1e400 1e-400 4.9e-324 2.2250738585072011e-308 9007199254740993.0 1E+2 -1.5e-7
               4611686018427387904 -9223372036854775809 12345678901234567890123 0.1234567890123456789012].freeze
  KEYS = ["id", "type", "name", "a", "a_rather_long_key_name", "a_rather_long_kez_name", ""].map(&:inspect).freeze
  DAMAGE = ["\"", "\\", "[", "]", "{", "}", ",", ":", " ", "0", "-", "+", ".", "e", "u", "\0", "\x1f", "\x80", "\xff",
            "\xed", "/", "NaN", "\\ud800"].map(&:b).freeze

  def initialize(seed)
    @random = Random.new(seed)
  end

  def document(depth = 4)
    blank + value(depth) + blank
  end

  # `text` with one string inserted or a few bytes removed. The result is rarely valid JSON.
  def damaged(text)
    bytes = text.b
    at = @random.rand(bytes.size + 1)
    @random.rand(2).zero? ? bytes.insert(at, pick(DAMAGE)) : bytes.slice!(at, @random.rand(1..3))
    bytes.force_encoding(Encoding::UTF_8)
  end

  private

  def value(depth)
    case @random.rand(depth.zero? ? 8 : 12)
    when 0..2 then number
    when 3 then pick(%w[true false null])
    when 4..7 then string
    when 8, 9 then "[#{list { value(depth - 1) }}]"
    else "{#{list { "#{key}#{blank}:#{blank}#{value(depth - 1)}" }}}"
    end
  end

  def list(&element)
    blank + Array.new(@random.rand(@random.rand(10).zero? ? 14 : 5)) { blank + element.call + blank }.join(",")
  end

  def key
    @random.rand(3).zero? ? string : pick(KEYS)
  end

  def string
    "\"#{Array.new(@random.rand(6)) { pick(PARTS) }.join}\""
  end

  def number
    case @random.rand(5)
    when 0 then pick(NUMBERS)
    when 1 then @random.rand(-10**25..10**25).to_s
    when 2 then "#{@random.rand(10**9)}.#{@random.rand(10**9)}"
    when 3 then "#{@random.rand(10**@random.rand(1..19))}e#{@random.rand(-330..310)}"
    else @random.rand(1000).to_s
    end
  end

  def blank
    pick(BLANKS)
  end

  def pick(choices)
    choices[@random.rand(choices.size)]
  end
end
