# frozen_string_literal: true

require "socket"

def outcomes
  @outcomes ||= []
end

def retry_later(message)
  outcomes << [:retry_later, message]
end

def report(message, _error)
  outcomes << [:report, message]
end

# A server that takes one request, and closes the connection without a response.
def rude_server
  server = TCPServer.new("127.0.0.1", 0)
  Thread.new do
    socket = server.accept
    socket.readpartial(4096)
    socket.close
  end
  "http://127.0.0.1:#{server.addr[1]}"
end

# Only a server that is down causes this.
GuideProgram.not_run("sleep 1", "retry # `each` continues after the last batch")

GuideProgram.finish do
  policy = DurableStreams::RetryPolicy.new(max_retries: 0)
  { "#{GuideProgram.url}/log" => 1, "http://127.0.0.1:9/log" => 2, "#{rude_server}/log" => 3 }.each do |url, message|
    stream = DurableStreams::Client.new(retry_policy: policy).stream(url, content_type: :json)
    stream.create if message == 1
    publish(stream, message)
  end
  raise outcomes.inspect unless outcomes == [[:retry_later, 2], [:report, 3]]

  begin
    publish(DurableStreams::Client.new.stream("#{GuideProgram.url}/missing", content_type: :json), 4)
    raise "nothing was raised"
  rescue DurableStreams::StreamNotFoundError
    nil
  end
end
