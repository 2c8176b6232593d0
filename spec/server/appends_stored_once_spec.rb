# frozen_string_literal: true

# Appends with `exactly_once: true`, as real servers see them.
on_each_server "Appends with exactly_once: true" do
  let(:client) { DurableStreams::Client.new(base_url: server_url, exactly_once: true) }
  let(:path) { unique_path }
  let(:stream) { client.create(path, content_type: :json) }

  after { client.close }

  it "are stored one after the other, and tell the stream's end" do
    ends = Array.new(3) { |n| stream.append(n).next_offset }
    expect(stream.read_all).to eq([0, 1, 2])
    expect(ends.last).to eq(stream.head.next_offset)
    expect(ends.uniq.size).to eq(3)
  end

  it "keep bytes as they are" do
    text = client.create(unique_path, content_type: :text)
    %w[a bc é].each { |data| text.append(data) }
    expect(text.read.body).to eq("abcé")
  end

  it "are stored in the order of each thread that shares the handle" do
    Array.new(8) { |thread| Thread.new { 25.times { |n| stream.append([thread, n]) } } }.each(&:join)
    items = stream.read_all
    expect(items.size).to eq(200)
    8.times { |thread| expect(items.select { |from, _| from == thread }.map(&:last)).to eq((0...25).to_a) }
  end

  it "may have a seq, whose order the server checks" do
    stream.append(1, seq: "b")
    expect { stream.append(2, seq: "a") }.to raise_error(DurableStreams::SeqConflictError)
    stream.append(3, seq: "c")
    stream.append(4)
    expect(stream.read_all).to eq([1, 3, 4])
  end

  it "may be the last, which closes the stream" do
    stream.append(1)
    closed = stream.close_stream(data: 2)
    expect(closed.final_offset).to eq(stream.head.next_offset)
    expect(stream.read_all).to eq([1, 2])
    expect { stream.close_stream(data: 3) }.to raise_error(DurableStreams::StreamClosedError) { |error|
      expect(error).to have_attributes(final_offset: closed.final_offset, outcome_unknown?: false)
    }
    expect { stream.append(4) }.to raise_error(DurableStreams::StreamClosedError)
    expect(stream.close_stream.final_offset).to eq(closed.final_offset)
  end

  it "are stored again where their stream was deleted and created again" do
    3.times { |n| stream.append(n) }
    stream.delete
    expect { stream.append(3) }.to raise_error(DurableStreams::StreamNotFoundError)
    stream.create
    stream.append(4)
    expect(stream.read_all).to eq([4])
  end

  it "go on after the server has restarted" do
    own = start_server
    handle = DurableStreams::Client.new(base_url: own.url, exactly_once: true).create(path, content_type: :json)
    2.times { |n| handle.append(n) }
    before = handle.read_all
    own.restart
    handle.create
    before = [] if server_kind == :node
    handle.append(2)
    expect(handle.read_all).to eq(before + [2])
  end

  describe "behind a proxy that loses responses", :faults do
    let(:client) { fault_client(exactly_once: true) }

    before { faults.proxy(server_url) }

    it "are stored once, and say that the server had them" do
      stream
      upstream = server_url
      faults.next("POST") { |reply| reply.forward(upstream).rst }
      expect(stream.append(1)).to be_duplicate
      expect(stream.append(2)).not_to be_duplicate
      faults.next("POST") { |reply| reply.forward(upstream).respond(504) }
      expect(stream.append(3, seq: "a")).to be_duplicate
      faults.next("POST") { |reply| reply.forward(upstream).rst }
      stream.close_stream(data: 4)
      expect(stream.read_all).to eq([1, 2, 3, 4])
    end
  end
end
