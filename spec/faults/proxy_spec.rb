# frozen_string_literal: true

# Proxies come from environment variables, unless the client's `proxy:` names one, or none.
RSpec.describe "Proxies", :faults do
  # Sends a HEAD request in a new program whose only proxy variables are those in `environment`.
  def head(url, environment)
    program = "policy = DurableStreams::RetryPolicy.new(max_retries: 0); " \
              "DurableStreams::Client.open(retry_policy: policy) { |c| puts c.stream(ARGV[0]).head.next_offset }"
    names = %w[http_proxy https_proxy all_proxy no_proxy].flat_map { |name| [name, name.upcase] }
    environment = names.to_h { |name| [name, nil] }.merge(environment)
    ChildProcess.outcome(program, url, environment: environment)
  end

  before { faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) } }

  it "are used if http_proxy names one" do
    expect(head("http://streams.example/s", "http_proxy" => faults.url)).to match(["7\n", be_success])
    request = faults.requests.first
    expect([request.target, request.header("host")]).to eq(["http://streams.example/s", "streams.example"])
  end

  it "are used if ALL_PROXY names one" do
    expect(head("http://streams.example/s", "ALL_PROXY" => faults.url)).to match(["7\n", be_success])
  end

  it "are used for https if https_proxy names one" do
    faults.on { |reply| reply.respond(502) }
    head("https://streams.example/s", "https_proxy" => faults.url)
    request = faults.requests.first
    expect([request.verb, request.target]).to eq(["CONNECT", "streams.example:443"])
  end

  it "get the user and password in their own URL" do
    head("http://streams.example/s", "http_proxy" => faults.url.sub("//", "//me:pw@"))
    expect(faults.requests.first.header("proxy-authorization")).to eq("Basic #{["me:pw"].pack("m0")}")
    expect(faults.requests.first.header("authorization")).to be_nil
  end

  it "are not used for the hosts in no_proxy" do
    FaultServer.start do |proxy|
      environment = { "http_proxy" => proxy.url, "no_proxy" => "127.0.0.1,localhost" }
      expect(head(faults.url("/s"), environment)).to match(["7\n", be_success])
      expect(proxy.connections).to eq(0)
    end
  end

  ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "* ", "a.example,*", "localhost 127.0.0.1"].each do |list|
    it "are not used for an address that no_proxy lists as #{list.inspect}" do
      FaultServer.start do |proxy|
        environment = { "http_proxy" => proxy.url, "NO_PROXY" => list }
        expect(head(faults.url("/s"), environment)).to match(["7\n", be_success])
        expect(proxy.connections).to eq(0)
      end
    end
  end

  { "HTTP_PROXY" => "http://me:s3cret@host:port", "http_proxy" => "socks5://me:s3cret@127.0.0.1:1080",
    "ALL_PROXY" => "http://me:s3/cret@host" }.each do |name, value|
    it "raise an error that names #{name} and shows no password if they are invalid, and send no request" do
      output, status = head(faults.url("/s"), name => value)
      expect([output, status.success?]).to match([/ConnectionError/, false])
      expect(output).to include("head #{faults.url("/s")}: the proxy of the environment variable #{name} cannot be")
      expect(output).not_to match(/s3|cret/)
      expect(faults.connections).to eq(0)
    end

    it "may be invalid if no_proxy lists the host (#{name})" do
      expect(head(faults.url("/s"), name => value, "no_proxy" => "127.0.0.1")).to match(["7\n", be_success])
    end

    it "raise an error if they are invalid and a redirect needs them (#{name})" do
      faults.on { |reply| reply.redirect("http://streams.example/s") }
      output, = head(faults.url("/s"), name => value, "no_proxy" => "127.0.0.1")
      expect(output).to include("variable #{name} cannot be used", "DurableStreams::ConnectionError")
    end
  end

  it "for https may be invalid if the URL is http" do
    expect(head(faults.url("/s"), "https_proxy" => "socks5://h")).to match(["7\n", be_success])
    output, = head("https://127.0.0.1:1/s", "https_proxy" => "socks5://h")
    expect(output).to include('variable https_proxy cannot be used: its scheme is "socks5"')
  end

  it "raise ConnectionError if they refuse connections" do
    faults.refuse_connections
    program, status = head("http://streams.example/s", "http_proxy" => faults.url.sub("//", "//me:s3cret@"))
    expect([program, status.success?]).to match([/ConnectionError/, false])
    expect(program).not_to include("s3cret")
  end

  describe "of a client with proxy:" do
    def head_through(proxy, url = "http://streams.example/s", **environment)
      program = "policy = DurableStreams::RetryPolicy.new(max_retries: 0); proxy = eval(ARGV[1]); " \
                "DurableStreams::Client.open(retry_policy: policy, proxy: proxy) { |c| " \
                "puts c.stream(ARGV[0]).head.next_offset }"
      ChildProcess.outcome(program, url, proxy.inspect, environment: environment.transform_keys(&:to_s))
    end

    it "are used for every request, whatever the environment names" do
      environment = { http_proxy: "http://127.0.0.1:1", no_proxy: "*" }
      proxy = faults.url.sub("//", "//me:pw@")
      expect(head_through(proxy, **environment)).to match(["7\n", be_success])
      expect(faults.requests.first.target).to eq("http://streams.example/s")
      expect(faults.requests.first.header("proxy-authorization")).to eq("Basic #{["me:pw"].pack("m0")}")
    end

    it "are used for https" do
      faults.on { |reply| reply.respond(502) }
      head_through(faults.url, "https://streams.example/s")
      expect(faults.requests.first.target).to eq("streams.example:443")
    end

    it "are not used if it is nil" do
      expect(head_through(nil, faults.url("/s"), http_proxy: "http://127.0.0.1:1")).to match(["7\n", be_success])
    end

    it "come from the environment if it is :environment" do
      expect(head_through(:environment, http_proxy: faults.url)).to match(["7\n", be_success])
    end

    it "are refused with a reason, and without the password, if they cannot be used" do
      { "socks5://me:s3cret@h" => /proxy cannot be used: its scheme is "socks5"/,
        "http://me:s3cret@h:port" => /proxy cannot be used: invalid port/, "" => /proxy must be a URL.*got ""/,
        :none => /proxy must be a URL, :environment or nil, got :none/, 7 => /got 7/ }.each do |proxy, message|
        expect { DurableStreams::Client.new(proxy: proxy) }.to raise_error(ArgumentError, message) do |error|
          expect(error.message).not_to include("s3cret")
        end
      end
    end
  end
end
