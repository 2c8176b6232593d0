# frozen_string_literal: true

# Servers that do not know the fork headers, and make an empty stream that they report as a success.
RSpec.describe "Forks that a server ignores", :faults do
  let(:source) { fault_client.stream("/source") }

  # The source's metadata, and the response to the creation of the fork.
  def respond(tail:, offset:, source_type: "application/json", type: source_type, status: 201)
    faults.on("HEAD", "/source") { |reply| reply.respond(200, **headers(tail, source_type)) }
    faults.on("PUT", "/fork") { |reply| reply.respond(status, **headers(offset, type)) }
  end

  def headers(offset, type)
    { "content-type" => type, "stream-next-offset" => offset }.compact
  end

  def raise_ignored(why)
    raise_error(DurableStreams::FetchError, /create .*ignored the fork headers.*#{why}/) do |error|
      expect(error).to have_attributes(status: 201, outcome_unknown?: false, url: faults.url("/fork"))
    end
  end

  it "raise FetchError if the new stream ends before the fork's offset" do
    respond(tail: "0009", offset: "0000")
    expect { source.fork("/fork", offset: "0005") }.to raise_ignored('ends at "0000", before "0005"')
    expect { source.fork("/fork", offset: "0005", sub_offset: 1) }.to raise_ignored('ends at "0000", before "0005"')
    expect(faults.requests(method: "HEAD")).to be_empty
  end

  it "raise FetchError if the new stream ends before the source, when no offset is given" do
    respond(tail: "0009", offset: "0000")
    expect { source.fork("/fork") }.to raise_ignored('ends at "0000", before "0009"')
    expect { source.fork("/fork", content_type: :json) }.to raise_ignored('ends at "0000", before "0009"')
    [source, source.url, "/source"].each do |given|
      expect { fault_client.create("/fork", forked_from: given) }.to raise_ignored('ends at "0000", before "0009"')
    end
  end

  it "raise FetchError if the new stream has not the source's content type" do
    respond(tail: "0000", offset: "0000", type: "application/octet-stream")
    why = 'content type is "application/octet-stream", and the source\'s "application/json"'
    expect { source.fork("/fork") }.to raise_ignored(why)
    typed = fault_client.stream("/source", content_type: :json)
    expect { typed.fork("/fork", offset: "0000") }.to raise_ignored(why)
  end

  it "differ from forks that end at the offset or after it, and of the same type whatever its case and parameters" do
    [["0005", "application/json"], ["0007", "Application/JSON; charset=utf-8"], ["0005", nil]].each do |offset, type|
      respond(tail: "0005", offset: offset, type: type)
      expect(source.fork("/fork")).to be_a(DurableStreams::Stream)
      expect(source.fork("/fork", offset: "0005")).to be_a(DurableStreams::Stream)
      expect(source.fork("/fork", offset: "-1")).to be_a(DurableStreams::Stream)
    end
  end

  it "are not looked for where another stream is created" do
    respond(tail: "0009", offset: "0000", type: "text/plain")
    expect(fault_client.create("/fork", content_type: :json).content_type).to eq("text/plain")
    expect(faults.requests.size).to eq(1)
  end

  it "raise the error of the source if that cannot be forked" do
    faults.on("HEAD", "/source") { |reply| reply.respond(410) }
    expect { source.fork("/fork") }.to raise_error(DurableStreams::StreamGoneError, %r{\Afork \S+/source: gone})
    expect(faults.requests.size).to eq(1)
  end
end
