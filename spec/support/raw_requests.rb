# frozen_string_literal: true

require "net/http"
require "socket"
require "timeout"
require_relative "fault_server"

# For examples about the fault server itself: requests to it, without this library.
RSpec.shared_context "with raw requests" do
  let(:server) { described_class.shared }

  around { |example| Timeout.timeout(60) { example.run } }

  # Sends one request on a new connection and returns the Net::HTTPResponse.
  def get(path, headers = {})
    Net::HTTP.get_response(URI(server.url(path)), headers)
  end

  def post(path, body, headers = {})
    Net::HTTP.post(URI(server.url(path)), body, { "content-type" => "text/plain" }.merge(headers))
  end

  # Opens a raw connection and sends a request on it.
  def connect(request = nil)
    socket = TCPSocket.new("127.0.0.1", server.port)
    socket.write(request) if request
    return socket unless block_given?

    begin
      yield socket
    ensure
      socket.close
    end
  end

  def get_raw(path, &block)
    connect("GET #{path} HTTP/1.1\r\nHost: x\r\n\r\n", &block)
  end
end
