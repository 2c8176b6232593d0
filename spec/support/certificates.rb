# frozen_string_literal: true

require "openssl"

# Creates certificates, each with its own key and valid for an hour, if not said otherwise.
module Certificates
  module_function

  # @return [Array(OpenSSL::X509::Certificate, OpenSSL::PKey)] a certificate authority
  def authority
    certificate("/CN=An authority", nil, [["basicConstraints", "CA:TRUE", true], ["keyUsage", "keyCertSign", true]])
  end

  # @param name [String] the subject's alternative name, for example "IP:127.0.0.1"
  # @param authority [Array(OpenSSL::X509::Certificate, OpenSSL::PKey)] the authority that signs it
  # @param lifetime [Integer] seconds until it expires
  # @return [Array(OpenSSL::X509::Certificate, OpenSSL::PKey)] a server certificate
  def server(name, authority, lifetime = 3600)
    certificate("/CN=A server", authority, [["subjectAltName", name, false]], lifetime)
  end

  # @param authority [Array(OpenSSL::X509::Certificate, OpenSSL::PKey), nil] the authority that signs it; nil: itself
  # @return [Array(OpenSSL::X509::Certificate, OpenSSL::PKey)] a client certificate
  def client(authority)
    certificate("/CN=A client", authority, [["extendedKeyUsage", "clientAuth", false]])
  end

  def certificate(subject, issuer, extensions, lifetime = 3600)
    key = OpenSSL::PKey::EC.generate("prime256v1")
    made = OpenSSL::X509::Certificate.new
    made.version = 2
    made.serial = rand(1 << 60)
    made.subject = OpenSSL::X509::Name.parse(subject)
    made.issuer = issuer ? issuer.first.subject : made.subject
    made.public_key = key
    made.not_before = Time.now - 3600
    made.not_after = Time.now + lifetime
    factory = OpenSSL::X509::ExtensionFactory.new(issuer&.first || made, made)
    extensions.each { |extension| made.add_extension(factory.create_extension(*extension)) }
    made.sign(issuer ? issuer.last : key, "SHA256")
    [made, key]
  end
end
