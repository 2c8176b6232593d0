# frozen_string_literal: true

require "json"

# Compares two JSON parsers: describes the result of parsing a text by everything that can differ.
module JSONOutcome
  # Whether JSON.parse interns keys, as this library does. Ruby 3.0's does not.
  INTERNS_KEYS = JSON.parse('{"a key":1}').keys.first.equal?(-"a key")

  # Everything that can differ between two results, beyond ==, in a form that a failure can show.
  def fingerprint(value)
    case value
    when String
      [value.bytes, value.encoding, value.valid_encoding?, value.ascii_only?, value.frozen?]
    when Float then [value].pack("G")
    when Array then [:array, value.frozen?, value.map { |element| fingerprint(element) }]
    when Hash
      [:hash, value.frozen?, value.map { |key, element| [fingerprint(key), interned?(key), fingerprint(element)] }]
    else value
    end
  end

  def interned?(key)
    !INTERNS_KEYS || (-key).equal?(key)
  end

  # Parses a text with JSON.parse. Without the option, newer versions of json warn about duplicate keys or reject them.
  # Older versions ignore the option.
  def json_parse(text)
    JSON.parse(text, allow_duplicate_key: true)
  end

  # The fingerprint of the block's value, or :refused if the parser rejected the text.
  def outcome
    fingerprint(yield)
  rescue DurableStreams::ParseError, JSON::ParserError
    :refused
  end
end
