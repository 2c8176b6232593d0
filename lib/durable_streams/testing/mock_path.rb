# frozen_string_literal: true

module DurableStreams
  module Testing
    # What streams in memory are known by.
    # @api private
    module MockPath
      class << self
        # @param path [String, URI, Symbol] a stream's path (or URL)
        # @return [String] the path as requests have it: percent-encoded, without a query
        # @raise [ArgumentError] if it is none, or one that a stream cannot have: see {Context#resolve_url}
        def of(path)
          path = Text.utf8(path.to_s, "path")
          Native.url_path(Context.absolute?(path) ? path : Native.join_url(BASE_URL, path))
        end
      end
    end
  end
end
