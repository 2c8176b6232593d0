# frozen_string_literal: true

# Reads and HEAD follow redirects. Another origin gets none of the user's headers and parameters.
RSpec.describe "Redirects", :faults do
  let(:elsewhere) { FaultServer.start }
  let(:secrets) do
    { headers: { "Authorization" => "Bearer s3cret", "X-Own" => "own", "X-Computed" => -> { "computed" } },
      params: { "own" => "fixed", "computed" => -> { "value" } } }
  end

  after { elsewhere.stop }

  reads = {
    "head" => ->(stream) { stream.head },
    "read" => ->(stream) { stream.read_json.to_a },
    "read live: :sse" => ->(stream) { stream.read_json(live: :sse).each.to_a }
  }

  # Scripts a server to serve the whole stream. The target of a redirect has its own query, or none.
  def serve(server, path, name)
    server.on(nil, path) do |reply|
      next reply.sse.data("[1]").control("1", closed: true).finish if name.include?("sse")

      reply.read("[1]", next_offset: "1", closed: true)
    end
  end

  reads.each do |name, call|
    it "are followed by #{name} within the origin, with all headers and parameters" do
      statuses = [301, 302, 303, 307, 308]
      statuses.each_with_index { |status, n| faults.on(nil, "/#{n}") { |reply| reply.redirect("/#{n + 1}", status) } }
      serve(faults, "/5", name)
      call.call(fault_client(**secrets).stream("/0", content_type: :json))
      expect(faults.requests.map(&:path)).to eq(%w[/0 /1 /2 /3 /4 /5])
      expect(faults.requests.last.header("authorization")).to eq("Bearer s3cret")
      expect(faults.requests.last.header("x-computed")).to eq("computed")
    end

    ["another port", "//host", "userinfo in the base_url"].each do |kind|
      it "send #{name} to another origin without the user's headers and parameters (#{kind})" do
        location = kind == "//host" ? elsewhere.url("/t").sub("http:", "") : elsewhere.url("/t")
        faults.on { |reply| reply.redirect(location) }
        serve(elsewhere, "/t", name)
        base = kind.start_with?("userinfo") ? faults.url.sub("//", "//me:s3cret@") : faults.url
        options = kind.start_with?("userinfo") ? {} : secrets
        call.call(fault_client(base_url: base, **options).stream("/s", content_type: :json))
        expect(faults.requests.first.header("authorization")).to match(/Bearer|Basic/)
        request = elsewhere.wait_for_request
        sent = request.headers.flatten.join("\n") + request.query.to_s
        expect(sent).not_to match(/s3cret|own|computed|Basic|Bearer/)
        names = request.headers.map { |header| header.first.downcase }
        expect(names - %w[accept accept-encoding user-agent host]).to eq([])
      end
    end

    it "from another origin back to the first do not get the credentials (#{name})" do
      faults.on(nil, "/s") { |reply| reply.redirect(elsewhere.url("/t")) }
      elsewhere.on { |reply| reply.redirect(faults.url("/u")) }
      serve(faults, "/u", name)
      call.call(fault_client(**secrets).stream("/s", content_type: :json))
      expect(faults.requests(path: "/u").first.header("authorization")).to be_nil
    end

    it "raise FetchError after 5 redirects (#{name})" do
      7.times { |n| faults.on(nil, "/#{n}") { |reply| reply.redirect("/#{n + 1}") } }
      stream = fault_client(retries: { **FaultHelpers::QUICK, max_retries: 0 }).stream("/0", content_type: :json)
      expect { call.call(stream) }.to raise_error(DurableStreams::FetchError, %r{more than 5 redirects, .*/6})
      expect(faults.requests.map(&:path)).to eq(%w[/0 /1 /2 /3 /4 /5])
    end

    it "raise FetchError if they form a circle (#{name})" do
      faults.on(nil, "/a") { |reply| reply.redirect("/b") }
      faults.on(nil, "/b") { |reply| reply.redirect("/a") }
      stream = fault_client(retries: { **FaultHelpers::QUICK, max_retries: 1 }).stream("/a", content_type: :json)
      expect { call.call(stream) }.to raise_error(DurableStreams::FetchError, /the redirects form a circle/)
      # Two tries. A read comes to /a twice: with its parameters at first, then as the redirect says.
      expect(faults.requests.map(&:path)).to eq((name == "head" ? %w[/a /b] : %w[/a /b /a]) * 2)
    end

    it "raise FetchError for schemes other than HTTP (#{name})" do
      %w[ftp://h/s file:///etc/passwd http:// javascript:alert(1)].each do |location|
        faults.on { |reply| reply.redirect(location) }
        expect { call.call(fault_stream) }.to raise_error(DurableStreams::FetchError, /redirect/)
      end
    end
  end
end
