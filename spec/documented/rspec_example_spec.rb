# frozen_string_literal: true

# The documentation's RSpec example, unchanged from "RSpec.describe" on.

require "durable_streams/rspec"

# Users have the server on their PATH. This project has it in .server.
ENV["DURABLE_STREAMS_SERVER"] ||= TestServer::BINARY

# The class that the example describes. The documentation does not define it.
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
