# frozen_string_literal: true

require "fileutils"
require "openssl"
require "socket"
require "tmpdir"
require_relative "certificates"

# An HTTPS server on 127.0.0.1 with its own new certificate authority. It responds to every request with 200 and an
# offset, or with a redirect.
class TlsServer
  RESPONSE = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nstream-next-offset: 7\r\ncontent-length: 0\r\n\r\n"
  REDIRECT = "HTTP/1.1 307 Temporary Redirect\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n"

  # @return [String] the server's URL
  attr_reader :url
  # @return [String, nil] the URL to which every request is redirected
  attr_accessor :location
  # @return [Boolean] whether it closes connections instead of responding, without TLS's close_notify
  attr_accessor :aborts
  # @return [String] a folder with ca.pem, and with a copy under the name by which OpenSSL finds it
  attr_reader :folder

  # Starts a server, yields it and stops it.
  def self.open(**options)
    server = new(**options)
    yield server
  ensure
    server&.stop
  end

  # @param name [String] the certificate's subject alternative name
  # @param lifetime [Integer] seconds until the certificate expires
  # @param client_certs [Boolean] whether clients must have a certificate of the server's authority
  def initialize(name: "IP:127.0.0.1", client_certs: false, lifetime: 3600)
    @folder = Dir.mktmpdir("tls")
    @authority = Certificates.authority
    write_authority(@authority.first)
    context = OpenSSL::SSL::SSLContext.new
    context.cert, context.key = Certificates.server(name, @authority, lifetime)
    if client_certs
      context.ca_file = ca_file
      context.verify_mode = OpenSSL::SSL::VERIFY_PEER | OpenSSL::SSL::VERIFY_FAIL_IF_NO_PEER_CERT
    end
    @listener = TCPServer.new("127.0.0.1", 0)
    @url = "https://127.0.0.1:#{@listener.addr[1]}"
    @server = OpenSSL::SSL::SSLServer.new(@listener, context)
    @acceptor = Thread.new { accept }
  end

  # @return [String] the file with the authority's certificate
  def ca_file
    File.join(folder, "ca.pem")
  end

  # Creates a client certificate that the server's authority signs, unless it is `self_signed`.
  # @return [Array(String, String)] the files with the certificate and its key
  def client_files(self_signed: false)
    made = Certificates.client(self_signed ? nil : @authority)
    %w[pem key].zip(made).map do |ending, part|
      File.join(folder, "client-#{made.first.serial}.#{ending}").tap { |path| File.write(path, part.to_pem) }
    end
  end

  # Ends the server and removes its files.
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
      next # The client does not trust the server.
    end
  end

  def serve(socket)
    while socket.gets
      nil until socket.gets.to_s.chomp.empty?
      return socket.to_io.shutdown if aborts

      socket.write(location ? format(REDIRECT, location) : RESPONSE)
    end
  rescue OpenSSL::SSL::SSLError, SystemCallError, IOError
    nil # The client has closed the connection.
  ensure
    socket.close
  end
end
