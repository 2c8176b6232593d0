# frozen_string_literal: true

require_relative "../../examples/chat/chat/conversations"
require_relative "../../examples/chat/chat/model"

# The chat of examples/chat in a real browser, with real servers that are killed.
RSpec.describe "examples/chat in a browser" do
  after do
    chat.kill
    client.close
  end

  # Its hook runs before the one above, while the servers are there.
  include_context "with a browser"

  let(:streams) { start_server(durability: :wal) }
  let(:chat) { ChatServer.new(streams.url) }
  let(:client) { DurableStreams::Client.new(base_url: streams.url) }
  let(:story) { "Tell me a story about the sea" }

  def ask(prompt)
    page.fill_in "Message", with: "#{prompt}\n"
    page.find("#exchanges > li", text: prompt)
  end

  # Waits until a reply has so many characters.
  # @return [Capybara::Node::Element]
  def reply(characters = 1, number: 1)
    page.find("#exchanges > li:nth-child(#{number}) > .reply", text: /\A.{#{characters}}/m)
  end

  def finished(number: 1)
    page.find("#exchanges > li.done:nth-child(#{number}) > .reply")
  end

  # The conversation that the page shows, from its stream.
  def conversation
    Chat::Conversations.new(client).find(page.current_path[/\h{32}/])
  end

  # A reply is complete in its stream and in the page, and nothing of it is there twice.
  def expect_complete(number: 1)
    shown = finished(number: number).text
    exchange = conversation.exchanges.fetch(number - 1)
    expect(exchange.tokens).to eq(Chat::Model.new.reply(exchange.prompt, exchange.id).map(&:text))
    expect(shown.gsub(/\W/, "")).to eq(exchange.tokens.join.gsub(/^```\w*|\W/, ""))
  end

  it "shows a reply word by word, with its formatting" do
    page.visit chat.url
    page.click_button "Show me some Ruby code"
    expect(reply(20)).to have_no_text("first three lines")
    expect(page).to have_css("[role=log][aria-busy=true]").and have_button("Stop").and have_no_button("Send")
    expect(finished).to have_css("pre", text: "stream = client.create").and have_css("p > code", text: "Enumerable")
    expect(page).to have_css("[role=log][aria-busy=false]").and have_button("Send", disabled: true)
    expect(page).to have_css("[role=status]", text: "The reply is complete", visible: :all)
    expect_complete
  end

  it "goes on after a reload in the middle of a reply" do
    page.visit chat.url
    ask story
    3.times do |times|
      reply(40 + (times * 40))
      page.refresh
    end
    expect_complete
  end

  it "stops a reply for good, and takes the next message" do
    page.visit chat.url
    ask story
    reply(40)
    page.click_button "Stop"
    expect(page).to have_css("li.cancelled", text: "Stopped")
    stopped = conversation.stream.read_all
    expect(stopped.last).to include("type" => "cancelled")
    ask "Write a haiku about it"
    expect_complete(number: 2)
    later = conversation.stream.read_all.drop(stopped.size)
    expect(later.map { |event| event["to"] || event["id"] }.uniq.size).to eq(1)
    expect(later.first).to include("type" => "user")
  end

  it "shows the same reply in a second tab" do
    page.visit chat.url
    ask story
    reply(40)
    url = page.current_url
    page.within_window(page.open_new_window(:tab)) do
      page.visit url
      reply(80)
      expect_complete
    end
    expect_complete
  end

  it "lists conversations, and opens them again" do
    page.visit chat.url
    expect(page).to have_text("What you ask will be listed here.")
    ask "Hello"
    expect_complete
    page.click_link "New chat"
    expect(page).to have_text("What shall we talk about?").and have_no_css("#exchanges > li")
    ask story
    expect(page).to have_css("#conversations a.writing[aria-current=page]", text: story)
    page.click_link "Hello"
    expect(finished).to have_text("I am a small model")
    expect(page).to have_css("#conversations a.done", text: story).and have_css("h1", text: "Hello")
    page.go_back
    expect(finished).to have_text("lighthouse")
    expect_complete
  end

  it "goes on after the Durable Streams server was killed and started again" do
    page.visit chat.url
    ask story
    reply(40)
    streams.kill
    expect(page).to have_css("#connection", text: "Waiting for the next word…")
    streams.restart
    expect_complete
    expect(page).to have_no_css("#connection")
    expect(console).to all(include("/conversations - ").and(include("503")))
  end

  it "goes on after the web server was killed and started again" do
    page.visit chat.url
    ask story
    reply(40)
    chat.kill
    expect(page).to have_css("#connection", text: "Reconnecting…")
    chat.start
    expect_complete
    expect(page).to have_no_css("#connection")
    expect(page).to have_css("#conversations a.done", text: story)
    expect(console).to all(include("ERR_CONNECTION_REFUSED").or(include("ERR_INCOMPLETE_CHUNKED")))
  end

  it "says that a message could not be sent, keeps it, and sends it once" do
    page.visit chat.url
    streams.suspend
    streams.kill
    page.fill_in "Message", with: "Hello\n"
    expect(page).to have_css("[role=alert]", text: "The streams server is unavailable.")
    chat.kill
    page.click_button "Send"
    expect(page).to have_css("[role=alert]", text: "The server cannot be reached.")
    expect(page).to have_field("Message", with: "Hello").and have_no_css("#exchanges > li")
    streams.restart
    chat.start
    page.click_button "Send"
    expect_complete
    expect(page).to have_no_css("[role=alert]").and have_field("Message", with: "")
    expect(conversation.exchanges.size).to eq(1)
    expect(console).to all(match(/503|ERR_CONNECTION_REFUSED/))
  end

  it "says that a conversation is not there" do
    page.visit "#{chat.url}/c/#{"0" * 32}"
    expect(page).to have_text("This conversation is not there").and have_no_field("Message")
    expect(console).to all(include("404"))
    page.click_link "Begin a new one"
    expect(page).to have_field("Message")
  end

  it "can be used by the keyboard" do
    page.visit chat.url
    page.find_field("Message").send_keys(story, %i[shift enter], "and a lamp", :enter)
    expect(page).to have_css(".prompt", text: "and a lamp")
    reply(20)
    page.send_keys(:escape)
    expect(page).to have_css("li.cancelled")
    expect(page.evaluate_script("document.activeElement.id")).to eq("prompt")
  end

  it "follows the reply to its end, unless the user reads above" do
    resize(390, 400)
    page.visit chat.url
    ask story
    reply(500) # Far more than fit. Within 80 pixels of the end, the page follows.
    expect(page).to have_no_button("Latest")
    page.execute_script("document.getElementById('scroll').scrollTop = 0")
    page.click_button "Latest"
    expect(page).to have_no_button("Latest")
    finished
    expect(page.find("#exchanges > li.done")).to have_text("keeping your place")
    bottom = page.evaluate_script("document.querySelector('.reply').getBoundingClientRect().bottom")
    expect(bottom).to be < page.evaluate_script("document.getElementById('composer').getBoundingClientRect().top")
  end

  it "has its list of conversations in a menu on a phone" do
    resize(390, 780)
    page.visit chat.url
    expect(page).to have_no_link("New chat")
    page.click_button "Conversations"
    expect(page).to have_link("New chat")
    expect(page.evaluate_script("document.activeElement.id")).to eq("new")
    page.send_keys(:escape)
    expect(page).to have_no_link("New chat")
    expect(page.evaluate_script("document.activeElement.id")).to eq("menu")
    ask "Hello"
    expect_complete
    expect(page.evaluate_script("document.documentElement.scrollWidth")).to eq(390)
  end

  it "is started by one command, keeps what was said, and is stopped by Ctrl-C" do
    Dir.mktmpdir do |folder|
      environment = { "PORT" => free_port.to_s, "CHAT_DATA" => folder, "CHAT_SPEED" => "20" }
      2.times do |times|
        command = ChildProcess.command(environment, RbConfig.ruby, File.join(ChatServer::FOLDER, "start.rb"))
        url = command.wait_for(%r{The chat is at (http://\S+)})[1]
        command.wait_for(/Listening on/)
        page.visit url
        times.zero? ? ask("Hello") : page.click_link("Hello")
        expect(finished).to have_text("I am a small model")
        page.visit "about:blank"
        command.signal("INT")
        expect(command.ended.status).to be_success
      end
    end
  end

  def free_port
    TCPServer.open("127.0.0.1", 0) { |socket| socket.addr[1] }
  end
end
