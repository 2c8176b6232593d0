# frozen_string_literal: true

require "durable_streams/testing"

# Runs small programs with a real server and with streams in memory. Both must have the same outcomes.
RSpec.describe DurableStreams::Testing, "streams that are created, closed, forked and deleted" do
  after { described_class.reset! }

  # @param program [Proc] gets a client, a path, and what runs a step and notes its value or error
  # @return [Array] the steps' outcomes
  def outcomes(base_url, path, program)
    policy = DurableStreams::RetryPolicy.new(max_retries: 0)
    client = DurableStreams::Client.new(base_url: base_url, retry_policy: policy)
    outcomes = []
    step = lambda do |&block|
      value = block.call
      outcomes << (value.is_a?(DurableStreams::Stream) ? :stream : value)
    rescue DurableStreams::DurableStreamError => e
      outcomes << e.class
    end
    program.call(client, path, step)
    outcomes
  ensure
    client.close
  end

  def self.same(title, &program)
    it "have the same outcomes as on a server: #{title}" do
      path = unique_path
      expected = outcomes(server_url, path, program)
      described_class.install!(strict: true)
      expect(outcomes(described_class::BASE_URL, path, program)).to eq(expected)
    end
  end

  same("created again after they were closed") do |client, path, step|
    client.create(path, content_type: :json).close_stream
    [{}, { closed: true }].each { |options| step.call { client.create(path, content_type: :json, **options) } }
    client.create("#{path}/closed", content_type: :json, closed: true)
    step.call { client.create("#{path}/closed", content_type: :json) }
  end

  same("forks that are created again") do |client, path, step|
    source = client.create(path, content_type: :json)
    offset = source.append(1).next_offset
    fork = source.fork("#{path}/fork")
    step.call { source.fork("#{path}/fork") }
    step.call { source.fork("#{path}/fork", offset: offset) }
    step.call { client.create("#{path}/fork", content_type: :json) }
    fork.close_stream
    step.call { source.fork("#{path}/fork") }
    client.create("#{path}/other", content_type: :json)
    step.call { source.fork("#{path}/other") }
  end

  same("forks at a sub-offset") do |client, path, step|
    json = client.create("#{path}/json", content_type: :json)
    first = json.append(1).next_offset
    json.append(2)
    text = client.create("#{path}/text", content_type: :text, body: "abc")
    [[json, first, 1], [json, first, 2], [json, nil, 1], [json, "-1", 2], [json, "-1", 3], [text, "-1", 2],
     [text, "-1", 4]].each_with_index do |(source, offset, more), index|
      step.call { source.fork("#{path}/#{index}", offset: offset, sub_offset: more).read_bytes.body }
    end
  end

  same("batches of a producer that are sent again after the stream was closed") do |client, path, step|
    stream = client.create(path, content_type: :json)
    batch = lambda do |**options|
      DurableStreams::Producer.open(stream: stream, producer_id: "a", **options) { |producer| producer.append!(1) }
      :stored
    end
    step.call { batch.call }
    step.call { stream.close_stream.final_offset && :closed }
    step.call { batch.call }
    step.call { batch.call(epoch: 1) }
    step.call { batch.call(auto_claim: true) }
    step.call { stream.read_all }
  end

  same("the content types of forks") do |client, path, step|
    source = client.create(path, content_type: "text/plain; charset=utf-8")
    step.call { source.fork("#{path}/inherited").head.content_type }
    step.call { source.fork("#{path}/given", content_type: "text/plain").head.content_type }
    step.call { client.create("#{path}/other", content_type: :json, forked_from: path) }
  end

  same("the expiry of forks") do |client, path, step|
    source = client.create(path, content_type: :json, ttl_seconds: 100)
    step.call { source.fork("#{path}/same").head.ttl_seconds }
    step.call { source.fork("#{path}/shorter", ttl_seconds: 50).head.ttl_seconds }
    step.call { source.fork("#{path}/moment", expires_at: Time.at(4_000_000_000)).head.to_h.slice(:ttl_seconds) }
    source = client.create("#{path}/moments", content_type: :json, expires_at: Time.at(4_000_000_000))
    step.call { source.fork("#{path}/same-moment").head.expires_at }
  end

  same("sources that are deleted before their forks") do |client, path, step|
    source = client.create(path, content_type: :json)
    source.append(1)
    fork = source.fork("#{path}/fork")
    last = fork.fork("#{path}/last")
    step.call { source.delete }
    fork.delete
    [-> { source.read_all }, -> { source.append(2) }, -> { source.close_stream }, -> { source.delete },
     -> { source.head }, -> { source.exists? }, -> { fork.read_all }, -> { client.create(path, content_type: :json) },
     -> { client.create("#{path}/b", content_type: :json, forked_from: path) }, -> { last.read_all },
     -> { last.delete }, -> { source.exists? }, -> { fork.append(1) },
     -> { client.create(path, content_type: :text) }].each { |call| step.call(&call) }
  end
end
