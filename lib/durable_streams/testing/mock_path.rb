# frozen_string_literal: true

module DurableStreams
  module Testing
    # What streams in memory are known by.
    # @api private
    module MockPath
      class << self
        # @param path [String, URI, Symbol] a stream's path (or URL)
        # @return [String] the path as requests have it: percent-encoded, without a query
        # @raise [ArgumentError] if it is none
        def of(path)
          path = Text.utf8(path.to_s, "path")
          path = "#{BASE_URL}#{"/" unless path.start_with?("/")}#{path}" unless path.match?(%r{\A[a-z][a-z0-9+.-]*://}i)
          Native.url_path(path)
        end
      end
    end
  end
end
