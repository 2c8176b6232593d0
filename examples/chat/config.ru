# frozen_string_literal: true

require_relative "chat/app"

# A reply that goes on after a restart needs the same seed. The speed is for the impatient.
model = Chat::Model.new(seed: Integer(ENV.fetch("CHAT_SEED", "0")),
                        speed: Float(ENV.fetch("CHAT_SPEED", "1")))
client = DurableStreams::Client.new(base_url: ENV.fetch("STREAMS_URL"), exactly_once: true)

use Rack::Static, urls: %w[/chat.css /chat.js /conversation.js /markdown.js],
                  root: File.expand_path("public", __dir__),
                  header_rules: [[:all, { "cache-control" => "no-cache" }]]
run Chat::App.new(client, model)
