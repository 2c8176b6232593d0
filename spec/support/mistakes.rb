# frozen_string_literal: true

# For example groups with `:mistakes`: each example is a mistake and what the library says about it.
module Mistakes
  # Defines an example.
  # @param description [String] what the user did
  # @param message [String, Regexp] the exact message, or the parts of it that matter
  # @param error [Class]
  # @yield the user's code
  def mistake(description, message, error = ArgumentError, &code)
    it(description) { expect { instance_exec(&code) }.to raise_error(error, message) }
  end
end

RSpec.configure { |config| config.extend Mistakes, :mistakes }
