# frozen_string_literal: true

require "fileutils"
require "open3"
require "socket"
require "tmpdir"
require_relative "../../spec/support/certificates"

module Bench
  # nginx as a reverse proxy that accepts TLS 1.3 from clients.
  class TlsFront
    # nginx did not start.
    class Failed < StandardError; end

    # The folders that may contain nginx. Debian installs it in /usr/sbin, which is not in every user's PATH.
    FOLDERS = [*ENV.fetch("PATH", "").split(File::PATH_SEPARATOR), "/usr/sbin"].freeze
    # Seconds within which nginx must accept connections.
    START_TIMEOUT = 10

    # @return [String, nil] the path of the program
    def self.program
      FOLDERS.map { |folder| File.join(folder, "nginx") }.find { |file| File.executable?(file) }
    end

    # @return [String] the URL that clients use instead of the server's
    attr_reader :url
    # @return [String] the path of the certificate that clients must trust
    attr_reader :ca_file

    # @param server [TestServer]
    # @param http2 [Boolean] whether it offers HTTP/2; otherwise HTTP/1.1
    # @raise [Failed]
    def initialize(server, http2:)
      @folder = Dir.mktmpdir("durable-streams-bench-")
      @port = TCPServer.open(server.class::HOST, 0) { |socket| socket.addr[1] }
      @url = "https://#{server.class::HOST}:#{@port}"
      write_certificates(server.class::HOST)
      File.write(file("nginx.conf"), configuration(server, http2))
      @pid = Process.spawn(self.class.program, "-p", @folder, "-c", file("nginx.conf"), "-e", file("error.log"),
                           in: File::NULL, out: File::NULL, err: File::NULL)
      @waiter = Process.detach(@pid)
      wait_until_it_listens
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
      FileUtils.rm_rf(@folder)
    end

    private

    def file(name)
      File.join(@folder, name)
    end

    def write_certificates(host)
      authority = Certificates.authority
      certificate, key = Certificates.server("IP:#{host}", authority)
      @ca_file = file("ca.pem")
      File.write(@ca_file, authority.first.to_pem)
      File.write(file("certificate.pem"), certificate.to_pem)
      File.write(file("key.pem"), key.to_pem)
    end

    # One worker, which reuses its connections to the server. A high `keepalive_requests` prevents that they close.
    def configuration(server, http2)
      <<~NGINX
        daemon off;
        pid #{file("nginx.pid")};
        worker_processes 1;
        events { worker_connections 1024; }
        http {
          access_log off;
          #{%w[client_body proxy fastcgi uwsgi scgi].map { |name| "#{name}_temp_path #{file(name)};" }.join(" ")}
          keepalive_requests 10000000;
          upstream streams {
            server #{server.class::HOST}:#{server.port};
            keepalive 64;
            keepalive_requests 10000000;
          }
          server {
            listen #{server.class::HOST}:#{@port} ssl#{" http2" if http2};
            ssl_certificate #{file("certificate.pem")};
            ssl_certificate_key #{file("key.pem")};
            ssl_protocols TLSv1.3;
            location / {
              proxy_pass http://streams;
              proxy_http_version 1.1;
              proxy_set_header Connection "";
              proxy_set_header Host $http_host;
              proxy_buffering off;
            }
          }
        }
      NGINX
    end

    def wait_until_it_listens
      deadline = Measure.now + START_TIMEOUT
      begin
        raise Failed, "nginx: #{log}" unless @waiter.alive? && Measure.now < deadline

        TCPSocket.new(URI(url).host, @port).close
      rescue Errno::ECONNREFUSED
        Thread.pass
        retry
      end
    end

    def log
      File.exist?(file("error.log")) ? File.readlines(file("error.log")).last.to_s.strip : "did not start"
    end
  end
end
