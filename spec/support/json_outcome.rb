# frozen_string_literal: true

require "json"

# What becomes of a JSON text, so that two readers can be compared: everything that tells their results apart.
module JSONOutcome
  # What tells two results apart beyond ==, as text that a failure can show.
  def fingerprint(value)
    case value
    when String
      [value.bytes, value.encoding, value.valid_encoding?, value.ascii_only?, value.frozen?]
    when Float then [value].pack("G")
    when Array then [:array, value.frozen?, value.map { |element| fingerprint(element) }]
    when Hash
      [:hash, value.frozen?, value.map { |key, element| [fingerprint(key), (-key).equal?(key), fingerprint(element)] }]
    else value
    end
  end

  # What JSON.parse makes of a text. Newer versions of json warn of repeated keys, or refuse them, unless they are told
  # not to; older ones ignore the option.
  def json_parse(text)
    JSON.parse(text, allow_duplicate_key: true)
  end

  # The result's fingerprint, or that it was refused.
  def outcome
    fingerprint(yield)
  rescue DurableStreams::ParseError, JSON::ParserError
    :refused
  end
end
