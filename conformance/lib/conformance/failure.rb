# frozen_string_literal: true

module Conformance
  # A command, or an option of one, that this adapter does not support.
  class NotImplementedCommand < StandardError; end

  # Maps exceptions to the suite's error results.
  module Failure
    # The gem's codes that have other names in the suite.
    CODES = {
      "GONE" => "NOT_FOUND",
      "CONFLICT_EXISTS" => "CONFLICT",
      "CONFLICT_SEQ" => "SEQUENCE_CONFLICT",
      "SEQUENCE_GAP" => "SEQUENCE_CONFLICT"
    }.freeze
    # The codes that the suite has.
    KNOWN = %w[NETWORK_ERROR TIMEOUT CONFLICT NOT_FOUND SEQUENCE_CONFLICT STREAM_CLOSED PARSE_ERROR].freeze

    # @param error [StandardError]
    # @param command [String, nil] type of the command that raised it
    # @return [Hash{Symbol => Object}] its fields of an error result
    def self.describe(error, command)
      case error
      when DurableStreams::DurableStreamError
        { status: error.status, errorCode: code(error, command), message: error.message }
      when JSON::ParserError # raised for a command. For invalid data of a stream, the gem raises ParseError
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
      # Only the offset of a read can be invalid.
      return "INVALID_OFFSET" if command == "read" && error.is_a?(DurableStreams::BadRequestError)

      error.status ? "UNEXPECTED_STATUS" : "INTERNAL_ERROR"
    end
    private_class_method :code
  end
end
