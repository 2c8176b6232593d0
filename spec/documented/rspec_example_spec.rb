# frozen_string_literal: true

# The documentation's RSpec example: from "RSpec.describe" on it is word for word what is documented.

require "durable_streams/rspec"

# Where users have the server on their PATH, this project has one of its own.
ENV["DURABLE_STREAMS_SERVER"] ||= TestServer::BINARY

# What the example is a spec of; the documentation does not say what it does.
class EventService
end

# rubocop:disable Style/StringLiterals, Layout/SpaceInsideHashLiteralBraces
RSpec.describe EventService do
  let(:client) { DurableStreams::Client.new(base_url: test_server_url) }
  let(:stream) { client.stream('/test-stream') }
  before do
    stream.create(content_type: 'application/json')
  end
  it 'publishes events' do
    stream.append({event: 'test'})
    items = stream.read.first.items
    expect(items).to include(hash_including('event' => 'test'))
  end
end
# rubocop:enable Style/StringLiterals, Layout/SpaceInsideHashLiteralBraces
