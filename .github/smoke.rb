# frozen_string_literal: true

# Uses the installed gem without a server: the extension loads, and requests pass through it.
require "durable_streams"
require "durable_streams/testing"

DurableStreams::Testing.install!
stream = DurableStreams.create("https://streams.example.com/smoke", content_type: :json)
stream.append({ "message" => "hello" })
items = stream.read_json.to_a
abort "read #{items.inspect}" unless items == [{ "message" => "hello" }]

puts "durable_streams #{DurableStreams::VERSION} works on Ruby #{RUBY_VERSION}, #{RUBY_PLATFORM}"
