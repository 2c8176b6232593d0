# frozen_string_literal: true

module Tokens
  def self.current
    "secret"
  end
end

# The client checks that they can be read.
%w[ca.pem client.pem client.key].each { |name| File.write(name, "") }

# Only a redirect calls it: spec/faults/redirects_spec.rb.
GuideProgram.not_run("trusted_origins: ->(origin) { origin.match?(%r{\\Ahttps://[\\w-]+\\.example\\.com:4437\\z}) }")
