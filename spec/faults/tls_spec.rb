# frozen_string_literal: true

require "pathname"
require "tempfile"

# Which certificates the client trusts and which it sends.
RSpec.describe "TLS" do
  around { |example| TlsServer.open { |server| (@server = server) && example.run } }

  attr_reader :server

  let(:policy) { DurableStreams::RetryPolicy.new(max_retries: 3, initial_delay: 1000, max_delay: 1000) }

  def head(**options)
    DurableStreams::Client.open(base_url: server.url, retry_policy: policy, **options) do |client|
      client.stream("/s").head.next_offset
    end
  end

  # Sends a HEAD request in a new program with these environment variables.
  def head_with(environment)
    program = 'DurableStreams::Client.open(base_url: ARGV[0]) { |c| puts c.stream("/s").head.next_offset }'
    ChildProcess.outcome(program, server.url, environment: environment)
  end

  it "trusts the certificates in ca_file" do
    expect(head(ca_file: server.ca_file)).to eq("7")
    expect(head(ca_file: Pathname(server.ca_file))).to eq("7")
  end

  it "connects from a plain fiber, which has a small stack" do
    expect(Fiber.new { head(ca_file: server.ca_file) }.resume).to eq("7")
  end

  it "trusts the certificates that SSL_CERT_FILE names" do
    expect(head_with("SSL_CERT_FILE" => server.ca_file)).to match(["7\n", be_success])
  end

  it "trusts the certificates that SSL_CERT_DIR names" do
    expect(head_with("SSL_CERT_DIR" => server.folder)).to match(["7\n", be_success])
  end

  def timed
    started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    yield
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
  end

  it "raises ConnectionError for any other certificate at once, without a retry" do
    took = timed do
      expect { head }.to raise_error(DurableStreams::ConnectionError, /certificate.*UnknownIssuer/i)
    end
    expect(took).to be < AtOnce::SECONDS
  end

  it "does not trust a certificate for another host" do
    TlsServer.open(name: "DNS:elsewhere.example") do |other|
      @server = other
      expect { head(ca_file: other.ca_file) }.to raise_error(DurableStreams::ConnectionError, /not valid for name/i)
    end
  end

  it "raises an error that names ca_file if the file has no certificate" do
    Tempfile.create("empty") do |file|
      expect { head(ca_file: file.path) }.to raise_error(DurableStreams::ConnectionError, /ca_file.*no certificate/)
    end
  end

  describe "with a server that requires a client certificate" do
    around { |example| TlsServer.open(client_certs: true) { |server| (@server = server) && example.run } }

    def refusal(**options)
      head(ca_file: server.ca_file, **options)
    rescue DurableStreams::ConnectionError => e
      e
    end

    it "sends client_cert, whose key is in client_key or in the same file" do
      cert, key = server.client_files
      expect(head(ca_file: server.ca_file, client_cert: cert, client_key: Pathname(key))).to eq("7")
      both = File.join(server.folder, "both.pem")
      File.write(both, File.read(key) + File.read(cert))
      expect(head(ca_file: server.ca_file, client_cert: both)).to eq("7")
    end

    it "uses client_cert and client_key of the configuration" do
      cert, key = server.client_files
      context = DurableStreams.new_context do |config|
        config.ca_file = server.ca_file
        config.client_cert = cert
        config.client_key = key
      end
      expect(DurableStreams.stream("#{server.url}/s", context: context).head.next_offset).to eq("7")
    end

    it "raises ConnectionError at once without a certificate, or with another authority's" do
      cert, key = server.client_files(self_signed: true)
      [{}, { client_cert: cert, client_key: key }].each do |options|
        error = nil
        took = timed { error = refusal(**options) }
        expect(error).to be_a(DurableStreams::ConnectionError).and have_attributes(message: /received fatal alert/)
        expect(took).to be < AtOnce::SECONDS
      end
    end

    it "sends no certificate after a redirect from another origin" do
      cert, key = server.client_files
      TlsServer.open do |first|
        first.location = "#{server.url}/s"
        authorities = File.join(first.folder, "both.pem")
        File.write(authorities, [first, server].map { |each| File.read(each.ca_file) }.join)
        options = { ca_file: authorities, client_cert: cert, client_key: key, retry_policy: policy }
        DurableStreams::Client.open(**options) do |client|
          expect { client.stream("#{first.url}/s").head }
            .to raise_error(DurableStreams::ConnectionError, /received fatal alert/)
          expect(client.stream("#{server.url}/s").head.next_offset).to eq("7")
          expect { client.stream("#{first.url}/s").head }.to raise_error(DurableStreams::ConnectionError)
        end
      end
    end

    it "sends no certificate to the proxy of an http URL" do
      output, = ChildProcess.outcome(<<~RUBY, *server.client_files, environment: { "http_proxy" => server.url })
        policy = DurableStreams::RetryPolicy.new(max_retries: 0)
        client = DurableStreams::Client.new(ca_file: #{server.ca_file.dump}, client_cert: ARGV[0], client_key: ARGV[1],
                                            retry_policy: policy)
        puts begin
          client.stream("http://stream.example/s").head.next_offset
        rescue DurableStreams::ConnectionError => e
          e.message
        end
      RUBY
      expect(output).to match(/received fatal alert: CertificateRequired/)
    end

    it "raises an error that says what is wrong with the files" do
      cert, key = server.client_files
      other = server.client_files.last
      encrypted = File.join(server.folder, "encrypted.key")
      File.write(encrypted, OpenSSL::PKey.read(File.read(key)).private_to_pem(OpenSSL::Cipher.new("aes-128-cbc"), "pw"))
      { [key, key] => /client_cert .*contains no certificate/,
        [cert, cert] => /client_cert .*contains no private key: set client_key/,
        [cert, encrypted] => /client_key .*without a password/,
        [cert, other] => /client_key .*does not belong to client_cert/ }
        .each do |(client_cert, client_key), message|
        error = refusal(client_cert: client_cert, client_key: client_key)
        expect(error).to be_a(DurableStreams::ConnectionError).and have_attributes(message: message)
      end
    end
  end

  it "says briefly that a connection was lost" do
    server.aborts = true
    policy = DurableStreams::RetryPolicy.new(max_retries: 0)
    expect { head(ca_file: server.ca_file, retry_policy: policy) }
      .to raise_error(DurableStreams::ConnectionError, /lost: peer closed connection without .* close_notify( \(|\z)/)
  end

  it "raises an error that says so if the server does not speak TLS" do
    FaultServer.start do |plain|
      plain.on_connect(times: 4) { |reply| reply.raw("HTTP/1.1 400 Bad Request\r\n\r\n").fin }
      DurableStreams::Client.open(base_url: plain.url.sub("http:", "https:"), retry_policy: policy) do |client|
        expect { client.stream("/s").head }
          .to raise_error(DurableStreams::ConnectionError, %r{\Ahead https://.*: the server does not speak TLS})
        expect(plain.connections).to eq(1) # No retry.
      end
    end
  end
end
