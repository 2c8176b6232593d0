# frozen_string_literal: true

module DurableStreams
  # What was passed to a producer's appends, by tokens that the extension assigns. {DeliveryFailure#undelivered} returns
  # it.
  # @api private
  class Originals < Hash
    # @param encoder [#call, false, nil] see {Configuration#chosen_json_encoder}
    def initialize(encoder)
      super()
      @encoder = encoder
    end

    # Returns an undelivered message as it was appended. If the object has changed since, returns its encoded form.
    # @param original [Object] the object passed to append
    # @param text [String] its encoded form at that time
    # @return [Object] the original if it still encodes to the same text, else the text, which can be appended instead
    def as_appended(original, text)
      original.is_a?(String) || Message.encode(original, true, nil, @encoder).b == text.b ? original : text
    rescue StandardError, ScriptError, SystemStackError
      text
    end
  end
end
