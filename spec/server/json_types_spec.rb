# frozen_string_literal: true

# The client treats `application/*+json` as JSON, as the reference client does. Servers store it unchanged and do not
# flatten arrays (protocol, "Which content types are what"), so a response is a sequence of arrays.
on_each_server "Streams of application/*+json" do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path, content_type: "application/vnd.events+json; charset=utf-8") }

  before { [{ "n" => 1 }, [2, 3], "4"].each { |message| stream.append(message) } }

  it "yield the appended messages" do
    expect(stream.read_json.to_a).to eq([{ "n" => 1 }, [2, 3], 4])
  end

  %i[long_poll sse auto].each do |live|
    it "yield new messages with live: #{live.inspect}" do
      expect(stream.read_json(live: live).first(3)).to eq([{ "n" => 1 }, [2, 3], 4])
    end
  end
end
