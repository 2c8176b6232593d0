# frozen_string_literal: true

# Without effect, unless something has loaded durable_streams before Rails.
require "durable_streams/railtie"

DurableStreams.configure do |config|
  # The URL that stream paths are joined to, such as "https://streams.example.com/v1".
  config.base_url = ENV.fetch("DURABLE_STREAMS_URL", nil)

  # Headers of every request. A callable is called for every HTTP request. `default_params` are query parameters.
  # config.default_headers = { "Authorization" => -> { "Bearer #{Rails.application.credentials.streams_token}" } }

  # Appends are sent again after a lost response or a 5xx, and stored once. The server has to support idempotent
  # producers.
  # config.exactly_once = true

  # Seconds of silence after which a request fails, and after which a live read reconnects.
  # config.timeout = 30
  # config.live_timeout = 120

  # How often a failed request is sent again, where that is safe.
  # config.retry_policy = DurableStreams::RetryPolicy.new(max_retries: 5)

  # The content type of streams that are created without one.
  # config.default_content_type = :json

  # What encodes data for JSON streams. Rails's encoder is the default.
  # config.json_encoder = JSON.method(:generate)

  # Certificates to trust in addition to the system's, the client's certificate with its key, and a proxy.
  # config.ca_file = "/etc/ssl/private-ca.pem"
  # config.client_cert = "/etc/ssl/client.pem"
  # config.client_key = "/etc/ssl/client-key.pem"
  # config.proxy = "http://proxy.example.com:3128"
end

# Where outages are logged, and what no caller could rescue. Rails.logger is the default.
# DurableStreams.logger = Logger.new("log/durable_streams.log")
