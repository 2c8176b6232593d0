# frozen_string_literal: true

# `application/*+json` is JSON for the client, as in the reference client; servers store it as it comes and flatten
# nothing (protocol, "Which content types are what"), so that a response holds one array after another.
on_each_server "Streams of application/*+json" do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path, content_type: "application/vnd.events+json; charset=utf-8") }

  before { [{ "n" => 1 }, [2, 3], "4"].each { |message| stream.append(message) } }

  it "are read as the messages that were appended" do
    expect(stream.read_json.to_a).to eq([{ "n" => 1 }, [2, 3], 4])
  end

  %i[long_poll sse auto].each do |live|
    it "are tailed as messages with live: #{live.inspect}" do
      expect(stream.read_json(live: live).first(3)).to eq([{ "n" => 1 }, [2, 3], 4])
    end
  end
end
