# frozen_string_literal: true

module DurableStreams
  # Where a {Consumer} saves how far it has come.
  #
  # | | the offset is | for |
  # | --- | --- | --- |
  # | {File} | in a file, replaced in one step | one machine |
  # | {Redis} | under a key | several machines |
  # | {ActiveRecord} | in a row of a table | effects in the same database, exactly once |
  # | {Memory} | gone with the process | tests |
  #
  # Any other object with `load` and `save(offset)` will do. An offset is an opaque String from the server, or "now" for
  # the end of the stream.
  module Checkpoint
    autoload :File, "durable_streams/checkpoint/file"
    autoload :Memory, "durable_streams/checkpoint/memory"

    # @api private
    # @param offset [String]
    # @return [String] it
    # @raise [ArgumentError] if it cannot be an offset
    def self.check_offset(offset)
      raise ArgumentError, "offset must be a String, got #{offset.class}" unless offset.is_a?(String)
      return offset if offset?(offset)

      raise ArgumentError, "offset must be an offset from the server, got #{offset[0, 80].inspect}"
    end

    # @api private
    # @param text [String]
    # @return [Boolean] whether it may be an offset
    def self.offset?(text)
      text.ascii_only? && text.match?(/\A[!-~]+\z/)
    end
  end

  # A checkpoint cannot be loaded or saved. `cause` has the reason, if another error is.
  class CheckpointError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Checkpoint error", status: nil, code: "CHECKPOINT" }.freeze
  end
end
