# frozen_string_literal: true

RSpec.describe DurableStreams::ContentType do
  it "has short names for the usual types" do
    expect(%i[json bytes text].map { |name| described_class.normalize(name) })
      .to eq(%w[application/json application/octet-stream text/plain])
    expect(described_class.normalize("text/plain; charset=utf-8")).to eq("text/plain; charset=utf-8")
    expect(described_class.normalize(nil)).to be_nil
  end

  [:xml, "", " ", "json", "text", 7, []].each do |type|
    it "rejects #{type.inspect}" do
      expect { described_class.normalize(type) }.to raise_error(ArgumentError, /content_type must be .*:json/)
    end
  end

  it "recognizes JSON" do
    json = ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", "application/json ;x"]
    expect(json.map { |type| DurableStreams.json_content_type?(type) }).to all(be(true))
    other = [nil, "", "text/json", "application/jsonl", "application/octet-stream"]
    expect(other.map { |type| DurableStreams.json_content_type?(type) }).to all(be(false))
  end

  it "recognizes types that SSE sends without base64" do
    expect(["text/plain", "TEXT/html;x", "application/json"].map { |type| DurableStreams.sse_compatible?(type) })
      .to all(be(true))
    other = [nil, "application/octet-stream", "application/vnd.api+json"]
    expect(other.map { |type| DurableStreams.sse_compatible?(type) }).to all(be(false))
  end
end
