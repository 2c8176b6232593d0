# frozen_string_literal: true

require "durable_streams/testing"

RSpec.describe DurableStreams::Testing, "without subscriptions" do
  include_context "with streams in memory"

  let(:subscriptions) { client.subscriptions }

  it "says so" do
    wake = { type: :pull_wake, pattern: "a/*", wake_stream: "w" }
    [-> { subscriptions.create("s", **wake) }, -> { subscriptions.find("s") }, -> { subscriptions.delete("s") },
     -> { subscriptions.add_streams("s", "a") }, -> { subscriptions.claim("s", worker: "w") }].each do |request|
      expect(&request).to raise_error(DurableStreams::SubscriptionsNotSupportedError,
                                      /streams in memory have no subscriptions: use a real server/)
    end
    expect(mock.streams).to be_empty
  end

  it "responds as a rule says" do
    mock.on(:get, %r{/__ds/subscriptions/s\z}, status: 200, body: { id: "s", type: "webhook", streams: [] })
    expect(subscriptions.find("s")).to have_attributes(id: "s", type: :webhook)
  end
end
