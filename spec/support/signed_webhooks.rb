# frozen_string_literal: true

require "net/http"
require "openssl"

# An Ed25519 key of a server, for requests that specs sign themselves.
class SigningKey
  # @return [String]
  attr_reader :id

  def initialize(id)
    @id = id
    @key = OpenSSL::PKey.generate_key("ED25519")
  end

  # @return [Hash] the public key as in a JWK set
  def jwk
    { kty: "OKP", crv: "Ed25519", kid: @id, use: "sig", alg: "EdDSA", x: base64(@key.public_to_der[-32..]) }
  end

  # @param body [String]
  # @param at [Integer] seconds since 1970
  # @return [String] the value of the header Webhook-Signature
  def sign(body, at: Time.now.to_i)
    "t=#{at},kid=#{@id},ed25519=#{base64(@key.sign(nil, "#{at}.#{body}"))}"
  end

  private

  def base64(bytes)
    [bytes].pack("m0").tr("+/", "-_").delete("=")
  end
end
