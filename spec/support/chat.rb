# frozen_string_literal: true

require "rbconfig"
require_relative "child_process"

# The web server of examples/chat, in its own process, which examples can end and start again.
class ChatServer
  FOLDER = File.expand_path("../../examples/chat", __dir__)

  # @return [String]
  attr_reader :url

  # @param streams_url [String] of the Durable Streams server
  # @param speed [Numeric] how many times as fast as usual the model writes
  def initialize(streams_url, speed: 2)
    @environment = { "STREAMS_URL" => streams_url, "CHAT_SPEED" => speed.to_s, "RUBYLIB" => ChildProcess::LIB }
    @bind = "tcp://127.0.0.1:0"
    start
  end

  # Starts it at the same port.
  def start
    command = [RbConfig.ruby, Gem.bin_path("puma", "puma"), "-C", File.join(FOLDER, "puma.rb")]
    @process = ChildProcess.command(@environment.merge("BIND" => @bind), *command)
    @url = @process.wait_for(%r{Listening on (http://127\.0\.0\.1:\d+)})[1]
    @bind = @url.sub("http", "tcp")
  end

  # Ends it at once, as a crash does.
  def kill
    @process.signal("KILL")
    @process.ended
  end
end
