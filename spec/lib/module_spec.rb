# frozen_string_literal: true

RSpec.describe DurableStreams do
  after { described_class.reset_configuration! }

  describe ".configure" do
    it "changes the configuration and freezes it" do
      seen = nil
      described_class.configure do |config|
        seen = config
        config.base_url = "https://host"
        config.each_yields = :items
      end
      expect(described_class.configuration).to equal(seen).and be_frozen
      expect(described_class.configuration).to have_attributes(base_url: "https://host", each_yields: :items)
    end

    it "starts from the present configuration" do
      described_class.configure { |config| config.base_url = "https://host" }
      described_class.configure { |config| config.timeout = 5 }
      expect(described_class.configuration).to have_attributes(base_url: "https://host", timeout: 5)
    end

    it "changes nothing when the block raises" do
      before = described_class.configuration
      expect { described_class.configure { |config| config.timeout = -1 } }.to raise_error(ArgumentError)
      expect(described_class.configuration).to equal(before)
    end

    it "makes another default context, and leaves streams with theirs" do
      described_class.configure { |config| config.base_url = "https://one" }
      stream = described_class.stream("/a")
      described_class.configure { |config| config.base_url = "https://two" }
      expect([stream.url, described_class.stream("/a").url]).to eq(%w[https://one/a https://two/a])
    end
  end

  it "goes back to the first configuration" do
    described_class.configure { |config| config.base_url = "https://host" }
    described_class.reset_configuration!
    expect(described_class.configuration.base_url).to be_nil
    expect(described_class.default_context.config.base_url).to be_nil
  end

  it "has one default context, however many threads ask first" do
    contexts = Array.new(8) { Thread.new { described_class.default_context } }.map(&:value)
    expect(contexts.uniq(&:object_id).size).to eq(1)
  end

  it "makes contexts of their own" do
    staging = described_class.new_context { |config| config.base_url = "https://staging" }
    expect(described_class.stream("/a", context: staging).url).to eq("https://staging/a")
    expect(described_class.configuration.base_url).to be_nil
  end

  it "normalizes offsets" do
    expect([nil, "", "-1", "now", 7].map { |offset| described_class.normalize_offset(offset) })
      .to eq(%w[-1 -1 -1 now 7])
  end

  describe ".logger" do
    around do |example|
      before = described_class.instance_variable_get(:@logger)
      example.run
      described_class.logger = before
    end

    it "warns on standard error until it is replaced or silenced" do
      expect(described_class.logger).to be_a(Logger).and have_attributes(level: Logger::WARN)
      described_class.logger = nil
      expect(described_class.logger).to be_nil
      own = Logger.new(nil)
      described_class.logger = own
      expect(described_class.logger).to equal(own)
    end
  end

  it "has the protocol's header names" do
    names = described_class.constants.grep(/_HEADER\z/)
    expect(names.size).to eq(15)
    expect(names.map { |name| described_class.const_get(name) })
      .to eq(names.map { |name| name.to_s.delete_suffix("_HEADER").downcase.tr("_", "-") })
  end

  it "loads nothing that it does not need, and starts no thread" do
    script = <<~RUBY
      before = Thread.list.size
      require "durable_streams"
      loaded = $LOADED_FEATURES.grep(%r{/(logger|time|net/http|uri|openssl|securerandom)\\.rb\\z})
      abort "loaded \#{loaded}" unless loaded.empty?
      abort "started a thread" unless Thread.list.size == before
    RUBY
    load_path = $LOAD_PATH.flat_map { |path| ["-I", path] }
    expect(system(RbConfig.ruby, "--disable-gems", *load_path, "-e", script)).to be(true)
  end
end
