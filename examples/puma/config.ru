# frozen_string_literal: true

# A small application: POST / appends the request's body (JSON) to a stream. GET / returns the stream's messages, one
# per line. The x-worker header of a response names the process that handled the request.
require "durable_streams"

# Once, before Puma forks its workers.
DurableStreams.configure { |config| config.base_url = ENV.fetch("STREAMS_URL") }
MESSAGES = DurableStreams.create("/examples/puma-messages", content_type: "application/json")

run(lambda do |request|
  status, body = case request["REQUEST_METHOD"]
                 when "POST" then [201, [MESSAGES.append(request["rack.input"].read).next_offset]]
                 when "GET" then [200, MESSAGES.read_json.map { |message| "#{JSON.generate(message)}\n" }]
                 else [405, []]
                 end
  [status, { "content-type" => "text/plain", "x-worker" => Process.pid.to_s }, body]
rescue DurableStreams::ParseError => e
  [400, { "content-type" => "text/plain", "x-worker" => Process.pid.to_s }, [e.message]]
end)
