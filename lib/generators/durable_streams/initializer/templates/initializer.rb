# frozen_string_literal: true

# Without effect, unless something has loaded durable_streams before Rails.
require "durable_streams/railtie"

DurableStreams.configure do |config|
  # The URL that stream paths are joined to, such as "https://streams.example.com/v1".
  config.base_url = ENV.fetch("DURABLE_STREAMS_URL", nil)

  # Headers and query parameters of every request. A callable is called for every HTTP request.
  # config.default_headers = { "Authorization" => -> { "Bearer #{Rails.application.credentials.streams_token}" } }
  # config.default_params = { "tenant" => "shop" }

  # Whether appends are sent again after a lost response or a 5xx, and stored once all the same. The server must know
  # idempotent producers.
  # config.exactly_once = true

  # What encodes data for JSON streams. Default: the encoder of Active Support.
  # config.json_encoder = JSON.method(:generate)

  # The content type of streams that are created without one.
  # config.default_content_type = :json

  # Seconds of silence after which a request fails, and after which a live read reconnects.
  # config.timeout = 30
  # config.live_timeout = 120

  # How often a failed request is sent again, where that is safe.
  # config.retry_policy = DurableStreams::RetryPolicy.new(max_retries: 5)

  # The largest message that a read accepts, in bytes.
  # config.max_message_bytes = 64 * 1024 * 1024

  # What `stream.read.each` yields: :batches, or :items as the pure-Ruby client does.
  # config.each_yields = :batches

  # A proxy. Default: that of the environment (http_proxy, https_proxy, no_proxy).
  # config.proxy = nil

  # Other origins that receive the headers and parameters after a redirect.
  # config.trusted_origins = ["https://node2.example.com"]

  # Certificates to trust in addition to the system's; the client's certificate and key.
  # config.ca_file = "/etc/ssl/private-ca.pem"
  # config.client_cert = "/etc/ssl/client.pem"
  # config.client_key = "/etc/ssl/client-key.pem"
end

# Where outages are logged, and problems that no caller can rescue. Default: Rails.logger.
# DurableStreams.logger = Logger.new("log/durable_streams.log")
