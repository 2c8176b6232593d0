# frozen_string_literal: true

# Starts the chat: a Durable Streams server, and the web application under Puma. Ctrl-C stops both. What was said is in
# the folder CHAT_DATA, and is there again at the next start.
#
#   ruby examples/chat/start.rb
#   PORT=8080 CHAT_SPEED=3 ruby examples/chat/start.rb
#   HOST=0.0.0.0 ruby examples/chat/start.rb             # for the phone in the same network
lib = File.expand_path("../../lib", __dir__)
$LOAD_PATH.unshift(lib)
require "rbconfig"
require "durable_streams/testing/server"

root = File.expand_path("../..", __dir__)
built = File.join(root, ".server/bin/durable-streams-server")
ENV["DURABLE_STREAMS_SERVER"] ||= built if File.executable?(built)

# Written to the disk before a write is acknowledged, so that nothing is lost if the server is killed.
streams = DurableStreams::Testing::Server.start(durability: :wal,
                                                data_dir: ENV.fetch("CHAT_DATA", File.join(root, "tmp/chat")))
address = "#{ENV.fetch("HOST", "127.0.0.1")}:#{ENV.fetch("PORT", "9292")}"
environment = { "STREAMS_URL" => streams.url, "BIND" => "tcp://#{address}", "RUBYLIB" => lib }

# Puma is in another process group: Ctrl-C reaches this program alone, which stops one after the other.
web = Process.spawn(environment, RbConfig.ruby, Gem.bin_path("puma", "puma"), "-q", "-C", File.join(__dir__, "puma.rb"),
                    pgroup: true)
ended = Process.detach(web)
stop = Thread::Queue.new
%w[INT TERM].each { |signal| trap(signal) { stop << signal } }
Thread.new { stop << ended.value }

puts "The chat is at http://#{address.sub("0.0.0.0", "localhost")} (Ctrl-C stops it)"
$stdout.flush
why = stop.pop

# Pages remain open, so Puma would wait for them. The writers go on where they stopped when the chat is started again.
if ended.alive?
  Process.kill(:TERM, web)
  ended.join(1) || Process.kill(:KILL, web)
end
streams.stop
abort "The web server has ended: #{why}" if why.is_a?(Process::Status)
