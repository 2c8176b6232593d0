# frozen_string_literal: true

require_relative "../../examples/chat/chat/conversations"
require_relative "../../examples/chat/chat/writer"
require_relative "../../examples/chat/chat/model"

# The writers of examples/chat: whatever ends them, a reply has each token once, and none after it was stopped.
on_each_server "The writers of examples/chat" do
  let(:client) { DurableStreams::Client.new(base_url: server_url + unique_path("chat"), exactly_once: true) }
  let(:conversations) { Chat::Conversations.new(client) }
  let(:model) { Chat::Model.new(speed: 20) }
  let(:id) { "c" * 32 }
  let(:reply) { "a" * 32 }
  let(:story) { "Tell me a story about the sea" }

  after { client.close }

  def begin_conversation
    conversations.create(id, story).tap do |conversation|
      conversations.note(id, state: "writing")
      conversation.add(reply, story)
    end
  end

  def tokens
    model.reply(story, reply).map(&:text)
  end

  def written(conversation)
    conversation.exchange(reply).tokens
  end

  # Waits until a stream has so many tokens.
  def wait_for_tokens(conversation, count)
    conversation.stream.read_json(live: :long_poll).lazy.select { |event| event["type"] == "token" }.first(count)
  end

  it "go on with the reply of a writer that was killed" do
    conversation = begin_conversation
    3.times do |times|
      writing = Chat::Writer.new(conversations, model).write(id, reply)
      wait_for_tokens(conversation, 20 * (times + 1))
      writing.kill.join
    end
    Chat::Writer.new(conversations, model).resume.join
    conversation.stream.read_json(live: :long_poll).find { |event| event["type"] == "done" }
    expect(written(conversation)).to eq(tokens)
  end

  it "take over from a writer that still writes" do
    conversation = begin_conversation
    writers = Array.new(3) do |times|
      Chat::Writer.new(conversations, model).write(id, reply).tap { wait_for_tokens(conversation, 20 * (times + 1)) }
    end
    writers.each(&:join)
    expect([written(conversation), conversation.exchange(reply).state]).to eq([tokens, :done])
    expect(conversations.list.map { |entry| entry["state"] }).to eq(["done"])
  end

  it "write nothing more after the user has stopped the reply" do
    conversation = begin_conversation
    writing = Chat::Writer.new(conversations, Chat::Model.new(speed: 1_000)).write(id, reply)
    wait_for_tokens(conversation, 10)
    stopped = conversation.cancel(reply)
    writing.join
    expect(conversation.stream.read_all.last).to include("type" => stopped ? "cancelled" : "done")
    expect(written(conversation)).to eq(tokens.first(written(conversation).size))
    expect(conversation.cancel(reply)).to be(false)
  end

  it "add a message once, and none while a reply is being written" do
    conversation = begin_conversation
    expect([conversation.add(reply, story), conversation.add("b" * 32, "Hello")]).to eq([true, false])
    expect(conversation.exchanges.map(&:id)).to eq([reply])
  end
end
