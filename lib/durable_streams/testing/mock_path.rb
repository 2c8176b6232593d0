# frozen_string_literal: true

module DurableStreams
  module Testing
    # The keys of streams in memory.
    # @api private
    module MockPath
      class << self
        # @param path [String, URI, Symbol] a stream's path (or URL)
        # @return [String] the path as in requests: percent-encoded, without a query
        # @raise [ArgumentError] if no stream can have this path: see {Context#resolve_url}
        def of(path)
          path = Text.utf8(path.to_s, "path")
          Native.url_path(Context.absolute?(path) ? path : Native.join_url(BASE_URL, path))
        end
      end
    end
  end
end
