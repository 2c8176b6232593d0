# frozen_string_literal: true

# For example groups with `:mistakes`: each example is a mistake and what the library says about it.
module Mistakes
  # Defines an example.
  # @param description [String] what the user did
  # @param message [String, Regexp] the exact message, where `<url>` stands for any URL; or the parts that matter
  # @param error [Class, Symbol] a Symbol: the name of a class of this library
  # @yield the user's code
  def mistake(description, message, error = ArgumentError, &code)
    pattern = message.is_a?(String) ? /\A#{Regexp.escape(message).gsub("<url>", "https?://[^ ]+?")}\z/ : message
    error = DurableStreams.const_get(error) if error.is_a?(Symbol)
    it(description) { expect { instance_exec(&code) }.to raise_error(error, pattern) }
  end
end

RSpec.configure { |config| config.extend Mistakes, :mistakes }
