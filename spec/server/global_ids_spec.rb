# frozen_string_literal: true

# The names of streams for Rails' records have colons and two slashes in a row.
on_each_server "A stream named by a global id" do
  let(:name) { "#{unique_path("rooms")}/gid://shop/Room/1" }

  def work_with(client, name)
    stream = client.create("#{name}/messages", content_type: :json, body: 1)
    stream.append(2)
    DurableStreams::Producer.open(url: "#{name}/messages", client: client, producer_id: "p") { |p| p << 3 }
    same = client.connect("#{name}/messages")
    fork = same.fork("#{name}/fork")
    [same.read_all, same.read_json(live: :sse).first(3), same.read_json(live: :long_poll).first(3), fork.read_all]
  end

  [["below a path", ""], ["with its own slash", "/"]].each do |title, slash|
    it "is created, written, read and forked #{title}" do
      client = DurableStreams::Client.new(base_url: server_url)
      path = slash + name.delete_prefix("/")
      expect(work_with(client, path)).to all(eq([1, 2, 3]))
      # The slashes are not merged.
      expect(client.stream("#{path.sub("gid://", "gid:/")}/messages")).not_to be_exists
    end
  end

  it "works in memory, too" do
    require "durable_streams/testing"
    DurableStreams::Testing.install!
    expect(work_with(DurableStreams::Client.new, name)).to all(eq([1, 2, 3]))
    expect(DurableStreams::Testing.messages_for("#{name}/messages")).to eq([1, 2, 3])
  ensure
    DurableStreams::Testing.reset!
  end

  it "is taken for a URL if nothing comes before it" do
    client = DurableStreams::Client.new(base_url: server_url)
    expect { client.stream("gid://shop/Room/1") }.to raise_error(ArgumentError, /its scheme is "gid"/)
    stream = client.create("/gid://shop/Room/#{SecureRandom.hex}", content_type: :json)
    expect(stream.append(1).next_offset).to eq(stream.head.next_offset)
  end
end
