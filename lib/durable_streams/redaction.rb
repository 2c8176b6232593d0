# frozen_string_literal: true

module DurableStreams
  # Keeps credentials out of what gets printed.
  # @api private
  module Redaction
    # @param url [String, nil]
    # @return [String, nil] the URL without userinfo, and without its query, which may hold a token
    def self.url(url)
      url&.sub(%r{\A([a-z][a-z0-9+.-]*://)[^/?#]*@}i, '\1')&.sub(/[?#].*\z/m, "?…")
    end
  end
end
