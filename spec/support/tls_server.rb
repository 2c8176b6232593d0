# frozen_string_literal: true

require "fileutils"
require "openssl"
require "socket"
require "tmpdir"
require_relative "certificates"

# An HTTPS server for 127.0.0.1 with a certificate authority of its own, both made on the spot. Its response to every
# request is 200 with an offset, or a redirect.
class TlsServer
  ANSWER = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nstream-next-offset: 7\r\ncontent-length: 0\r\n\r\n"
  REDIRECT = "HTTP/1.1 307 Temporary Redirect\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n"

  # @return [String] its URL
  attr_reader :url
  # @return [String, nil] URL to which every request is redirected
  attr_accessor :location
  # @return [String] a folder with ca.pem in it, and with the same under the name that OpenSSL looks for
  attr_reader :folder

  # Starts one, yields it and stops it.
  def self.open(**options)
    server = new(**options)
    yield server
  ensure
    server&.stop
  end

  # @param name [String] what the certificate is for, as X.509 has it
  # @param client_certs [Boolean] whether clients have to show a certificate of the server's authority
  def initialize(name: "IP:127.0.0.1", client_certs: false)
    @folder = Dir.mktmpdir("tls")
    @authority = Certificates.authority
    write_authority(@authority.first)
    context = OpenSSL::SSL::SSLContext.new
    context.cert, context.key = Certificates.server(name, @authority)
    if client_certs
      context.ca_file = ca_file
      context.verify_mode = OpenSSL::SSL::VERIFY_PEER | OpenSSL::SSL::VERIFY_FAIL_IF_NO_PEER_CERT
    end
    @listener = TCPServer.new("127.0.0.1", 0)
    @url = "https://127.0.0.1:#{@listener.addr[1]}"
    @server = OpenSSL::SSL::SSLServer.new(@listener, context)
    @acceptor = Thread.new { accept }
  end

  # @return [String] file of the authority's certificate
  def ca_file
    File.join(folder, "ca.pem")
  end

  # Makes a client's certificate, signed by the server's authority unless it is to sign itself.
  # @return [Array(String, String)] files of the certificate and its key
  def client_files(self_signed: false)
    made = Certificates.client(self_signed ? nil : @authority)
    %w[pem key].zip(made).map do |ending, part|
      File.join(folder, "client-#{made.first.serial}.#{ending}").tap { |path| File.write(path, part.to_pem) }
    end
  end

  # Ends it and removes its files.
  def stop
    @acceptor.kill.join
    @listener.close
    FileUtils.rm_rf(folder)
  end

  private

  def write_authority(authority)
    File.write(ca_file, authority.to_pem)
    File.write(File.join(folder, format("%08x.0", authority.subject.hash)), authority.to_pem)
  end

  def accept
    loop do
      socket = @server.accept
      Thread.new { serve(socket) }
    rescue OpenSSL::SSL::SSLError, SystemCallError
      next # A client that does not trust it.
    end
  end

  def serve(socket)
    while socket.gets
      nil until socket.gets.to_s.chomp.empty?
      socket.write(location ? format(REDIRECT, location) : ANSWER)
    end
  rescue OpenSSL::SSL::SSLError, SystemCallError, IOError
    nil # The client is gone.
  ensure
    socket.close
  end
end
