# frozen_string_literal: true

require "fileutils"
require "net/http"
require "socket"
require "tmpdir"
require_relative "certificates"

# nginx as a reverse proxy, over HTTP/1.1 or over HTTP/2 with TLS. Its settings are nginx's defaults, except those that
# are needed to pass requests on. Independent of RSpec.
class Nginx
  # It did not start.
  class StartError < StandardError; end

  HOST = "127.0.0.1"
  # Seconds that it may take to start or to end.
  PATIENCE = 20

  # @return [String] its URL
  attr_reader :url
  # @return [String, nil] the file with the certificate to trust; nil without TLS
  attr_reader :ca_file

  # @return [String, nil] the program
  def self.program
    ["/usr/sbin", *ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)]
      .map { |folder| File.join(folder, "nginx") }.find { |file| File.executable?(file) }
  end

  # Starts it in front of a server.
  # @param upstream [String] the server's URL
  # @param http2 [Boolean] over HTTP/2 with TLS
  # @param settings [String] further lines for its location
  # @return [Nginx]
  def self.start(upstream, http2: false, settings: "")
    new(upstream, http2, settings)
  end

  # Ends it.
  def stop
    Process.kill("TERM", @pid)
    Process.wait(@pid)
    FileUtils.remove_entry(@folder)
  end

  private

  def initialize(upstream, http2, settings)
    raise StartError, "there is no nginx; bin/setup installs it" unless Nginx.program

    @folder = Dir.mktmpdir("nginx-")
    File.chmod(0o755, @folder)
    listener = Addrinfo.tcp(HOST, 0).listen
    port = listener.local_address.ip_port
    @url = "#{http2 ? "https" : "http"}://#{HOST}:#{port}"
    certificates if http2
    File.write(File.join(@folder, "nginx.conf"), configuration(upstream, port, http2, settings))
    # nginx takes over this listener, so nobody else can have the port.
    @pid = Process.spawn({ "NGINX" => "#{listener.fileno};" }, Nginx.program, "-p", @folder, "-c", "nginx.conf",
                         listener => listener, %i[out err] => File.join(@folder, "log"))
    listener.close
  end

  def certificates
    authority = Certificates.authority
    certificate, key = Certificates.server("IP:#{HOST}", authority)
    { "ca.pem" => authority.first, "server.pem" => certificate, "server.key" => key }.each do |name, made|
      File.write(File.join(@folder, name), made.to_pem)
    end
    @ca_file = File.join(@folder, "ca.pem")
  end

  def configuration(upstream, port, http2, settings)
    <<~CONFIGURATION
      daemon off;
      pid nginx.pid;
      error_log error.log;
      events {}
      http {
        access_log off;
        #{%w[client_body proxy fastcgi uwsgi scgi].map { |kind| "#{kind}_temp_path #{kind};" }.join(" ")}
        server {
          listen #{HOST}:#{port}#{" ssl http2" if http2};
          #{"ssl_certificate server.pem; ssl_certificate_key server.key;" if http2}
          location / {
            proxy_pass #{upstream};
            #{settings}
          }
        }
      }
    CONFIGURATION
  end
end
