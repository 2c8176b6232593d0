# frozen_string_literal: true

# For examples about `durable_streams/testing`, which they require: streams in memory instead of a server.
RSpec.shared_context "with streams in memory" do
  let(:mock) { described_class.mock_transport }
  let(:stream) { DurableStreams.create("/events", content_type: :json) }

  before { described_class.install! }
  after { described_class.reset! }

  def client(**options)
    policy = DurableStreams::RetryPolicy.new(initial_delay: 0.001, max_delay: 0.01)
    DurableStreams::Client.new(base_url: "https://streams.example.com/v1", retry_policy: policy, **options)
  end

  def in_thread(&block)
    Thread.new(&block).tap { |thread| thread.report_on_exception = false }
  end
end
