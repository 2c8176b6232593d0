# frozen_string_literal: true

module DurableStreams
  # Removes credentials from URLs for messages and logs.
  # @api private
  module Redaction
    # @param url [String, nil] a URL, or any text given as one
    # @return [String, nil] the URL without userinfo and query, which may contain a token; nil for nil
    def self.url(url)
      url && Native.shown_url(url.encode(Encoding::UTF_8, invalid: :replace, undef: :replace))
    rescue EncodingError
      "…" # Ruby has no converter from its encoding, such as UTF-7.
    end
  end
end
