# frozen_string_literal: true

require_relative "../../spec/support/nginx"

module Bench
  # nginx as a reverse proxy that accepts TLS 1.3 from clients. It reuses its connections to the server: a high
  # `keepalive_requests` prevents that they close.
  module TlsFront
    LOCATION = <<~NGINX
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
    NGINX
    private_constant :LOCATION

    # @param server [TestServer]
    # @param http2 [Boolean] whether it offers HTTP/2; otherwise HTTP/1.1
    # @return [Nginx]
    # @raise [Nginx::StartError]
    def self.start(server, http2:)
      http = <<~NGINX
        ssl_protocols TLSv1.3;
        keepalive_requests 10000000;
        upstream streams {
          server #{server.class::HOST}:#{server.port};
          keepalive 64;
          keepalive_requests 10000000;
        }
      NGINX
      Nginx.new("http://streams", tls: true, http2: http2, http: http, location: LOCATION)
    end
  end
end
