# frozen_string_literal: true

# Reads return text exactly, except by SSE: its framing has no CRs and, as servers write it, loses the space at the
# beginning of a line. `live: :auto` reads existing text exactly and new text by SSE.
on_each_server "Text" do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:text) { " one\r\n two\rthree\n\n\u2028é\0 " }

  def stream_of(text)
    client.create(unique_path, content_type: "text/plain; charset=utf-8").tap { |stream| stream.append(text) }
  end

  %i[off long_poll auto].each do |live|
    it "that exists is read exactly with live: #{live.inspect}" do
      stream = stream_of(text)
      stream.append(" tail\r")
      stream.close_stream
      expect(stream.read(live: live).map(&:data).join).to eq("#{text} tail\r")
    end
  end

  # Appends once a live read has caught up, and returns the text that the read yields.
  def tailed(text, live:)
    stream = stream_of("first")
    stream.read(live: live) do |reader|
      chunks = reader.each
      expect(chunks.next.data).to eq("first")
      stream.append(text)
      chunks.lazy.map(&:data).reject(&:empty?).first
    end
  end

  it "that is new is read exactly with live: :long_poll" do
    expect(tailed(text, live: :long_poll)).to eq(text)
  end

  it "that is new is read by SSE with live: :auto, without CRs and spaces at the beginning of lines" do
    expect(tailed(" one\r\n two", live: :auto).squeeze("\n")).to eq("one\ntwo")
  end

  it "that is new is read without CRs and spaces at the beginning of lines with live: :sse" do
    stream = stream_of(" one\r\n two")
    stream.close_stream
    expect(stream.read(live: :sse).map(&:data).join.squeeze("\n")).to eq("one\ntwo")
  end
end
