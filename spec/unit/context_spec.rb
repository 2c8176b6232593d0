# frozen_string_literal: true

require "uri"

RSpec.describe DurableStreams::Context do
  def context(base_url)
    described_class.new { |config| config.base_url = base_url }
  end

  describe "#resolve_url" do
    {
      ["https://host", "/stream"] => "https://host/stream",
      ["https://host/", "stream"] => "https://host/stream",
      ["https://host//", "//stream"] => "https://host/stream",
      ["https://host/v1/streams", "/stream"] => "https://host/v1/streams/stream",
      ["https://host/v1/streams/", "a/b/"] => "https://host/v1/streams/a/b/",
      ["https://host", "/a?x=1"] => "https://host/a?x=1",
      ["https://host", "\\\\elsewhere\\a"] => "https://host/elsewhere\\a",
      ["https://host/v1", "/a/../b"] => "https://host/v1/a/../b",
      ["https://host/v1", "/%252e%252e/b?x=../.."] => "https://host/v1/%252e%252e/b?x=../..",
      ["https://host/v1", "rooms/gid://app/Room/1/messages"] => "https://host/v1/rooms/gid://app/Room/1/messages",
      ["https://host/v1", "rooms/gid:%2F%2Fapp%2FRoom%2F1"] => "https://host/v1/rooms/gid:%2F%2Fapp%2FRoom%2F1",
      ["https://host/v1", "http://host/../admin"] => "http://host/../admin",
      ["https://host", "/redirect?to=http://elsewhere"] => "https://host/redirect?to=http://elsewhere",
      ["https://host", "http://elsewhere/a"] => "http://elsewhere/a",
      ["https://host", "HTTP://elsewhere/a"] => "HTTP://elsewhere/a",
      [nil, "http://elsewhere/a"] => "http://elsewhere/a"
    }.each do |(base_url, url), expected|
      it "resolves #{url} to #{expected} with base_url #{base_url.inspect}" do
        expect(context(base_url).resolve_url(url)).to eq(expected)
      end
    end

    it "accepts a URI" do
      expect(context(nil).resolve_url(URI("http://host/a"))).to eq("http://host/a")
    end

    ["/../../admin", "..", "a/../../admin", "%2e%2e/admin", "%2E%2e/admin", ".%2e/admin", "%2E./admin", "..\\admin",
     "/a/%2e%2e\\..", "..%2fadmin", "%2e%2E%5cadmin", "//../admin", "/../v1/admin"].each do |path|
      it "rejects #{path}, which is outside of the base_url's path" do
        [context("https://me:pw@host"), context("https://host/v1"), context("https://host/v1/")].each do |context|
          expect { context.resolve_url(path) }.to raise_error(ArgumentError, /\Aurl .* may leave the base_url's path/)
        end
      end
    end

    it "rejects a path with a fragment, which a request cannot have" do
      expect { context("http://host").resolve_url("/rooms/#general") }
        .to raise_error(ArgumentError, 'url "/rooms/?…" has a fragment, which is not sent: write # as %23')
    end

    it "rejects a scheme without slashes and does not show its password" do
      ["http:me:secret@host/a", "http:/me:secret@host/a", "HTTPS:\\\\me:secret@host/a"].each do |url|
        [nil, "http://host"].each do |base_url|
          expect { context(base_url).resolve_url(url) }
            .to raise_error(ArgumentError, %r{two slashes after its scheme: "http.*host/a"}i) { |error|
              expect(error.message).not_to include("secret")
            }
        end
      end
    end

    it "raises an error with the reason for other values" do
      { nil => "got nil", 7 => "got Integer", :path => "got Symbol", "" => "must not be empty",
        " \n" => "must not be empty", "/a\r\nX: y" => "must not contain control", " /a" => "begin or end with a space",
        "/\xFF" => "valid in its encoding" }.each do |url, message|
        expect { context("http://host").resolve_url(url) }.to raise_error(ArgumentError, /\Aurl .*#{message}/)
      end
    end

    it "accepts text in any encoding" do
      expect(context("http://host").resolve_url("/é".encode("UTF-16LE"))).to eq("http://host/é")
      expect(context("http://host").resolve_url("/é".b)).to eq("http://host/é")
    end

    it "requires a base_url for a path" do
      expect { context(nil).resolve_url("/a") }
        .to raise_error(ArgumentError, %r{\Aurl "/a" is a path, and no base_url is configured})
    end
  end

  it "copies the process's configuration without changing it" do
    copy = described_class.new { |config| config.timeout = 5 }
    expect(copy.config).to be_frozen.and have_attributes(timeout: 5, default_content_type: :json)
    expect(DurableStreams.configuration.timeout).to eq(30)
  end

  describe "#native_stream" do
    subject(:context) do
      described_class.new do |config|
        config.default_headers = { "Authorization" => "one", "X-Default" => "saved" }
        config.default_params = { "a" => "1", "b" => "2" }
      end
    end

    def sent(headers, params)
      context # creating it validates its settings
      allow(DurableStreams::Native::Stream).to receive(:new)
      context.native_stream("http://host/a", DurableStreams::RequestOptions.normalize(headers, "headers"),
                            DurableStreams::RequestOptions.normalize(params, "params"))
      options = nil
      expect(DurableStreams::Native::Stream).to(have_received(:new) { |*arguments| options = arguments.last })
      options.values_at(:headers, :params)
    end

    it "sends the configured headers and parameters" do
      expect(sent({}, {})).to eq([{ "Authorization" => "one", "X-Default" => "saved" }, { "a" => "1", "b" => "2" }])
    end

    it "replaces headers of the same name, in any case, by the stream's own" do
      expect(sent({ AUTHORIZATION: "two", "x-default" => "own", "X-More" => "3" }, {}).first)
        .to eq("AUTHORIZATION" => "two", "x-default" => "own", "X-More" => "3")
    end

    it "omits a header that the stream sets to nil" do
      expect(sent({ "authorization" => nil }, {}).first).to eq("authorization" => nil, "X-Default" => "saved")
    end

    it "replaces parameters of the same name by the stream's own" do
      expect(sent({}, { b: 3, "B" => "4" }).last).to eq("a" => "1", "b" => "3", "B" => "4")
    end
  end
end
