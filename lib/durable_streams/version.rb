# frozen_string_literal: true

module DurableStreams
  # The version of this gem, by semantic versioning.
  VERSION = "0.2.0"
end
