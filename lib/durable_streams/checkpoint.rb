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
    autoload :ActiveRecord, "durable_streams/checkpoint/active_record"
    autoload :File, "durable_streams/checkpoint/file"
    autoload :Memory, "durable_streams/checkpoint/memory"
    autoload :Redis, "durable_streams/checkpoint/redis"

    # Much more than an offset has.
    # @api private
    MAX_BYTES = 4096

    class << self
      # @api private
      # @param offset [String]
      # @return [String] it
      # @raise [ArgumentError] if it cannot be an offset
      def check_offset(offset)
        return offset if offset.is_a?(String) && offset?(offset)

        Options.refuse("offset", "an offset from the server (a String)", offset)
      end

      # @api private
      # @param offset [String, nil]
      # @param place [String] where it was loaded from
      # @return [String, nil] it
      # @raise [CheckpointError] if it cannot be an offset
      def check_loaded(offset, place)
        return offset if offset.nil? || offset?(offset)

        raise CheckpointError, "cannot load the checkpoint: #{place} does not have an offset, but " \
                               "#{offset[0, 80].inspect}. Write an offset, or delete it to begin anew"
      end

      # @api private
      # @param name [String, Symbol]
      # @param argument [String] the argument's name
      # @return [String] it
      # @raise [ArgumentError]
      def check_name(name, argument)
        unless (name.is_a?(String) || name.is_a?(Symbol)) && !name.empty?
          Options.refuse(argument, "a String or Symbol, and not empty", name)
        end

        name.to_s
      end

      private

      def offset?(text)
        text.ascii_only? && text.match?(/\A[!-~]{1,#{MAX_BYTES}}\z/o)
      end
    end
  end

  # A checkpoint cannot be loaded or saved. `cause` has the reason, if another error is.
  class CheckpointError < DurableStreamError
    # @api private
    DEFAULTS = { message: "Checkpoint error", status: nil, code: "CHECKPOINT" }.freeze
  end
end
