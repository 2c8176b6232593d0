# frozen_string_literal: true

# Redirects: followed where nothing is written, and nothing of the user's goes along to another origin.
RSpec.describe "Redirects", :faults do
  let(:elsewhere) { FaultServer.start }
  let(:secrets) do
    { headers: { "Authorization" => "Bearer s3cret", "X-Own" => "own", "X-Asked" => -> { "asked" } },
      params: { "own" => "fixed", "asked" => -> { "value" } } }
  end

  after { elsewhere.stop }

  reads = {
    "head" => ->(stream) { stream.head },
    "read" => ->(stream) { stream.read_json.to_a },
    "read live: :sse" => ->(stream) { stream.read_json(live: :sse).each.to_a }
  }

  # Scripts a server to end what is asked for. A redirect's target has a query of its own, or none.
  def serve(server, path, name)
    server.on(nil, path) do |reply|
      next reply.sse.data("[1]").control("1", closed: true).finish if name.include?("sse")

      reply.read("[1]", next_offset: "1", closed: true)
    end
  end

  reads.each do |name, call|
    it "are followed by #{name} within the origin, with all that the request had" do
      statuses = [301, 302, 303, 307, 308]
      statuses.each_with_index { |status, n| faults.on(nil, "/#{n}") { |reply| reply.redirect("/#{n + 1}", status) } }
      serve(faults, "/5", name)
      call.call(fault_client(**secrets).stream("/0", content_type: :json))
      expect(faults.requests.map(&:path)).to eq(%w[/0 /1 /2 /3 /4 /5])
      expect(faults.requests.last.header("authorization")).to eq("Bearer s3cret")
      expect(faults.requests.last.header("x-asked")).to eq("asked")
    end

    ["another port", "//host", "userinfo in the base_url"].each do |kind|
      it "lead #{name} to another origin (#{kind}) without anything of the user's" do
        location = kind == "//host" ? elsewhere.url("/t").sub("http:", "") : elsewhere.url("/t")
        faults.on { |reply| reply.redirect(location) }
        serve(elsewhere, "/t", name)
        base = kind.start_with?("userinfo") ? faults.url.sub("//", "//me:s3cret@") : faults.url
        options = kind.start_with?("userinfo") ? {} : secrets
        call.call(fault_client(base_url: base, **options).stream("/s", content_type: :json))
        expect(faults.requests.first.header("authorization")).to match(/Bearer|Basic/)
        request = elsewhere.wait_for_request
        sent = request.headers.flatten.join("\n") + request.query.to_s
        expect(sent).not_to match(/s3cret|own|asked|Basic|Bearer/)
        names = request.headers.map { |header| header.first.downcase }
        expect(names - %w[accept accept-encoding user-agent host]).to eq([])
      end
    end

    it "back to the first origin do not give the secrets to whoever sent them there (#{name})" do
      faults.on(nil, "/s") { |reply| reply.redirect(elsewhere.url("/t")) }
      elsewhere.on { |reply| reply.redirect(faults.url("/u")) }
      serve(faults, "/u", name)
      call.call(fault_client(**secrets).stream("/s", content_type: :json))
      expect(faults.requests(path: "/u").first.header("authorization")).to be_nil
    end

    it "that do not end are a FetchError (#{name})" do
      faults.on(nil, "/a") { |reply| reply.redirect("/b") }
      faults.on(nil, "/b") { |reply| reply.redirect("/a") }
      stream = fault_client.stream("/a", content_type: :json)
      expect { call.call(stream) }.to raise_error(DurableStreams::FetchError, /more than 5 redirects/)
      expect(faults.requests.size).to eq(6)
    end

    it "to other schemes than HTTP are a FetchError (#{name})" do
      %w[ftp://h/s file:///etc/passwd http:// javascript:alert(1)].each do |location|
        faults.on { |reply| reply.redirect(location) }
        expect { call.call(fault_stream) }.to raise_error(DurableStreams::FetchError, /redirect/)
      end
    end
  end
end
