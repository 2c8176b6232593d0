# frozen_string_literal: true

module DurableStreams
  module Testing
    # The keys of streams in memory.
    # @api private
    module MockPath
      class << self
        # @param path [String, URI, Symbol] a stream's path, as passed to {DurableStreams.stream}, or its URL. If the
        #   configured base_url has a path, the stream's path may begin with it, or leave it out
        # @return [String] the path as in requests: percent-encoded, without a query
        # @raise [ArgumentError] if no stream can have this path: see {Context#resolve_url}
        def of(path)
          path = Text.utf8(path.to_s, "path")
          return Native.url_path(path) if Context.absolute?(path)

          base = DurableStreams.configuration.base_url || BASE_URL
          whole = joined(BASE_URL, path)
          whole.start_with?(joined(base, "/")) ? whole : joined(base, path)
        end

        private

        def joined(base, path)
          Native.url_path(Native.join_url(base, path))
        end
      end
    end
  end
end
