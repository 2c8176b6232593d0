# frozen_string_literal: true

module Conformance
  # A command, or a part of one, that this adapter does not know.
  class NotImplementedCommand < StandardError; end

  # What the gem raised, in the suite's words.
  module Failure
    # The gem's codes, where the suite has another name for the same thing.
    CODES = {
      "GONE" => "NOT_FOUND",
      "CONFLICT_EXISTS" => "CONFLICT",
      "CONFLICT_SEQ" => "SEQUENCE_CONFLICT",
      "SEQUENCE_GAP" => "SEQUENCE_CONFLICT"
    }.freeze
    # What the suite has a name for.
    KNOWN = %w[NETWORK_ERROR TIMEOUT CONFLICT NOT_FOUND SEQUENCE_CONFLICT STREAM_CLOSED PARSE_ERROR].freeze

    # @param error [StandardError]
    # @param command [String, nil] type of the command that it ended
    # @return [Hash{Symbol => Object}] what an error result has of it
    def self.describe(error, command)
      case error
      when DurableStreams::DurableStreamError
        { status: error.status, errorCode: code(error, command), message: error.message }
      when JSON::ParserError # a command; what streams hold is the gem's business
        { errorCode: "PARSE_ERROR", message: error.message }
      when ArgumentError
        { errorCode: "INVALID_ARGUMENT", message: error.message }
      when NotImplementedCommand
        { errorCode: "NOT_SUPPORTED", message: error.message }
      else
        { errorCode: "INTERNAL_ERROR", message: "#{error.class}: #{error.message}" }
      end
    end

    # @param error [DurableStreams::DurableStreamError]
    # @param command [String, nil]
    # @return [String]
    def self.code(error, command)
      code = CODES.fetch(error.code, error.code)
      return code if KNOWN.include?(code)
      # Of what a read sends, only the offset can be wrong by content.
      return "INVALID_OFFSET" if command == "read" && error.is_a?(DurableStreams::BadRequestError)

      error.status ? "UNEXPECTED_STATUS" : "INTERNAL_ERROR"
    end
    private_class_method :code
  end
end
