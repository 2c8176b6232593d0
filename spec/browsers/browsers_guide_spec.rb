# frozen_string_literal: true

require "rack"

RSpec.describe "docs/browsers.md" do
  let(:streams) { server_url + unique_path }
  let(:client) { DurableStreams::Client.new(base_url: streams) }

  after { client.close }

  # Runs the guide's events.ru.
  def serve
    program = Guide.new("docs/browsers.md").files.fetch("events.ru").sub('ENV.fetch("STREAMS_URL")', streams.inspect)
    web = PumaServer.new(Rack::Builder.new { instance_eval(program) }.to_app)
    yield web
  ensure
    web&.stop
  end

  it "has a Rack application that gives each user a stream" do
    client.create("/orders/ann", content_type: :json).append({ "total" => 5 })
    client.stream("/orders/ann").close_stream
    serve do |web|
      expect(EventSource.new(web.url("/orders/events")).status).to eq(401)
      page = EventSource.new(web.url("/orders/events"), headers: { "Authorization" => "Basic YW5uOnNlY3JldA==" })
      expect(page.next.data).to eq('{"total":5}')
    end
  end
end
