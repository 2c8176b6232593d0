# frozen_string_literal: true

module DurableStreams
  # Keeps credentials out of what gets printed.
  # @api private
  module Redaction
    # @param url [String, nil] a URL, or what somebody took for one
    # @return [String, nil] it without userinfo, and without its query, which may hold a token; nil stays nil
    def self.url(url)
      url && Native.shown_url(url.encode(Encoding::UTF_8, invalid: :replace, undef: :replace))
    rescue EncodingError
      "…" # Nothing converts from its encoding (UTF-7, for one).
    end
  end
end
