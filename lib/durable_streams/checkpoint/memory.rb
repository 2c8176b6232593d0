# frozen_string_literal: true

module DurableStreams
  module Checkpoint
    # An offset in memory, for tests, and for programs that begin anew each time.
    class Memory
      # @param offset [String, nil] where to begin; nil: at the beginning of the stream
      # @raise [ArgumentError] if it cannot be an offset
      def initialize(offset = nil)
        @offset = offset && Checkpoint.check_offset(offset)
      end

      # @return [String, nil]
      def load
        @offset
      end

      # @param offset [String]
      # @return [nil]
      # @raise [ArgumentError] if it cannot be an offset
      def save(offset)
        @offset = Checkpoint.check_offset(offset)
        nil
      end
    end
  end
end
