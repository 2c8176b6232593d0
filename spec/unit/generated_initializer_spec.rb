# frozen_string_literal: true

# The initializer that `rails generate durable_streams:initializer` writes.
RSpec.describe "The generated initializer" do
  let(:text) do
    File.read(File.expand_path("../../lib/generators/durable_streams/initializer/templates/initializer.rb", __dir__))
  end

  it "has every setting" do
    setters = DurableStreams::Configuration.public_instance_methods(false).grep(/=\z/)
    expect(text.scan(/config\.(\w+) =/).flatten).to match_array(setters.map { |name| name.to_s.delete_suffix("=") })
  end

  it "is valid with every setting uncommented" do
    files = %w[private-ca.pem client.pem client-key.pem].map { |name| "/etc/ssl/#{name}" }
    code = text.gsub(/^(\s*)# (config\.)/, '\1\2').gsub(Regexp.union(files), __FILE__)[/^DurableStreams.*?^end$/m]
    eval(code) # rubocop:disable Security/Eval
    expect(DurableStreams.configuration).to have_attributes(exactly_once: true, proxy: nil, client_key: __FILE__,
                                                            max_message_bytes: 2**26)
  ensure
    DurableStreams.reset_configuration!
  end
end
