# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"
require_relative "certificates"
require_relative "clock"

# nginx as a reverse proxy for specs and benchmarks. Its settings are nginx's defaults, except those that are needed to
# pass requests on, and those given. Independent of RSpec.
class Nginx
  include Clock

  # It did not start.
  class StartError < StandardError; end

  HOST = "127.0.0.1"
  # The folders that may contain nginx. Debian installs it in /usr/sbin, which is not in every user's PATH.
  FOLDERS = [*ENV.fetch("PATH", "").split(File::PATH_SEPARATOR), "/usr/sbin"].freeze
  # Seconds within which it must accept connections.
  START_TIMEOUT = 10

  # @return [String, nil] the path of the program
  def self.program
    FOLDERS.map { |folder| File.join(folder, "nginx") }.find { |file| File.executable?(file) }
  end

  # @return [String] the URL that clients use instead of the server's
  attr_reader :url
  # @return [String, nil] the path of the certificate that clients must trust; nil without TLS
  attr_reader :ca_file

  # Starts it, and waits until it accepts connections.
  # @param upstream [String] the URL that requests are passed to
  # @param tls [Boolean] whether it accepts TLS instead of plain HTTP
  # @param http2 [Boolean] whether it offers HTTP/2, with TLS; otherwise HTTP/1.1
  # @param http [String] further lines of the configuration's http block
  # @param location [String] further lines of its location block
  # @raise [StartError]
  def initialize(upstream, tls: false, http2: false, http: "", location: "")
    raise StartError, "there is no nginx; bin/setup installs it" unless self.class.program

    @folder = Dir.mktmpdir("durable-streams-nginx-")
    @port = TCPServer.open(HOST, 0) { |socket| socket.addr[1] }
    @url = "#{tls ? "https" : "http"}://#{HOST}:#{@port}"
    write_certificates if tls
    listen = "listen #{HOST}:#{@port}#{" ssl" if tls}#{" http2" if http2};"
    File.write(file("nginx.conf"), configuration(listen, http, "proxy_pass #{upstream};\n#{location}"))
    launch
  rescue StandardError
    stop
    raise
  end

  # Ends nginx and removes its files.
  def stop
    if @waiter&.alive?
      Process.kill("TERM", @pid)
      @waiter.join
    end
    FileUtils.rm_rf(@folder) if @folder
  end

  private

  def file(name)
    File.join(@folder, name)
  end

  def write_certificates
    authority = Certificates.authority
    certificate, key = Certificates.server("IP:#{HOST}", authority)
    @ca_file = file("ca.pem")
    File.write(@ca_file, authority.first.to_pem)
    File.write(file("certificate.pem"), certificate.to_pem)
    File.write(file("key.pem"), key.to_pem)
  end

  def configuration(listen, http, location)
    <<~NGINX
      daemon off;
      pid #{file("nginx.pid")};
      worker_processes 1;
      events { worker_connections 1024; }
      http {
        access_log off;
        #{%w[client_body proxy fastcgi uwsgi scgi].map { |name| "#{name}_temp_path #{file(name)};" }.join(" ")}
        #{http}
        server {
          #{listen}
          #{"ssl_certificate #{file("certificate.pem")}; ssl_certificate_key #{file("key.pem")};" if @ca_file}
          location / { #{location} }
        }
      }
    NGINX
  end

  def launch
    # As root, nginx runs its worker as another user, who must be able to enter the folder.
    File.chmod(0o755, @folder)
    @pid = Process.spawn(self.class.program, "-p", @folder, "-c", file("nginx.conf"), "-e", file("error.log"),
                         in: File::NULL, out: File::NULL, err: File::NULL)
    @waiter = Process.detach(@pid)
    wait_until_it_listens
  end

  def wait_until_it_listens
    deadline = now + START_TIMEOUT
    begin
      raise StartError, "nginx: #{log}" unless @waiter.alive? && now < deadline

      TCPSocket.new(HOST, @port).close
    rescue Errno::ECONNREFUSED
      Thread.pass
      retry
    end
  end

  def log
    File.exist?(file("error.log")) ? File.readlines(file("error.log")).last.to_s.strip : "did not start"
  end
end
