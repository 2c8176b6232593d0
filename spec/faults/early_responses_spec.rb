# frozen_string_literal: true

# A server may respond before it has read the request's body, and close the connection while the client still sends.
# 1 of 1000 such responses is lost all the same, and the request sent again, so the examples do not count requests.
RSpec.describe "Early responses", :faults do
  # More than the buffers of a connection can contain.
  let(:data) { "x" * 20_000_000 }
  let(:stream) { fault_stream(type: :bytes) }

  # What a server does with the rest of the body.
  endings = {
    "closes" => ->(reply) { reply.fin },
    "resets the connection" => ->(reply) { reply.rst },
    "reads on and closes" => ->(reply) { reply.read_body.fin }
  }
  writes = {
    "append" => ->(stream, data) { stream.append(data) },
    "append with seq" => ->(stream, data) { stream.append(data, seq: "1") },
    "close_stream with data" => ->(stream, data) { stream.close_stream(data: data) },
    "create" => ->(stream, data) { stream.create(body: data) }
  }

  # Scripts this response to every request, before its body is read.
  def respond_early(status, ending, **headers)
    faults.on(nil, nil, read_body: false) do |reply|
      ending.call(reply.respond(status, "no", "connection" => "close", **headers))
    end
  end

  endings.each do |ending, script|
    writes.each do |name, write|
      it "are read by #{name} when the server #{ending}" do
        respond_early(413, script)
        expect { write.call(stream, data) }.to raise_error(DurableStreams::PayloadTooLargeError) do |error|
          expect(error).to have_attributes(status: 413, body: "no", outcome_unknown?: false, retryable?: false)
        end
      end
    end

    it "are read by a producer when the server #{ending}" do
      respond_early(413, script)
      producer = DurableStreams::Producer.new(url: "/s", client: fault_client, producer_id: "p", content_type: :bytes,
                                              max_batch_bytes: data.size)
      expect { producer.append!(data) }.to raise_error(DurableStreams::PayloadTooLargeError) do |error|
        expect(error).to have_attributes(outcome_unknown?: false, undelivered: [data])
      end
    end

    it "may be redirects when the server #{ending}" do
      respond_early(307, script, "location" => "/elsewhere")
      faults.on("POST", "/elsewhere") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      expect(stream.append(data).next_offset).to eq("7")
      expect(faults.requests(path: "/elsewhere").map { |request| request.body.size }).to eq([data.size])
    end
  end

  { 401 => DurableStreams::UnauthorizedError, 403 => DurableStreams::ForbiddenError,
    404 => DurableStreams::StreamNotFoundError, 409 => DurableStreams::ContentTypeMismatchError,
    410 => DurableStreams::StreamGoneError }.each do |status, error_class|
    it "with #{status} raise #{error_class}, and nothing is stored" do
      respond_early(status, :rst.to_proc)
      expect { stream.append(data) }.to raise_error(error_class) { |error| expect(error).not_to be_outcome_unknown }
    end
  end

  it "that do not come leave a known outcome, because no server has the whole request" do
    faults.on("POST", nil, read_body: false, &:rst)
    expect { stream.append(data) }.to raise_error(DurableStreams::ConnectionError) do |error|
      expect(error).to have_attributes(outcome_unknown?: false, retryable?: true)
    end
    expect(faults.requests.size).to eq(3)
  end

  it "that do not come once let the request be sent again" do
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.next("POST", nil, read_body: false, &:rst)
    expect(stream.append(data).next_offset).to eq("7")
    expect(faults.requests.filter_map(&:body).map(&:size)).to eq([data.size])
  end
end
