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

    it "starts from the current configuration" do
      described_class.configure { |config| config.base_url = "https://host" }
      described_class.configure { |config| config.timeout = 5 }
      expect(described_class.configuration).to have_attributes(base_url: "https://host", timeout: 5)
    end

    it "changes nothing when the block raises" do
      before = described_class.configuration
      expect { described_class.configure { |config| config.timeout = -1 } }.to raise_error(ArgumentError)
      expect(described_class.configuration).to equal(before)
    end

    it "rejects any invalid setting at once and changes nothing" do
      settings = { "invalid port" => ->(config) { config.base_url = "http://secret@host:99999" },
                   "header x: " => ->(config) { config.default_headers = { "X" => "a\r\nY: secret" } },
                   "header name" => ->(config) { config.default_headers["a b"] = "secret" },
                   "max_retries must be" => ->(config) { config.retry_policy.max_retries = -1 } }
      before = [described_class.configuration, described_class.default_context]
      settings.each do |message, set|
        %i[configure new_context].each do |call|
          expect { described_class.public_send(call, &set) }.to raise_error(ArgumentError) { |error|
            expect(error.message).to include(message)
            expect(error.message).not_to include("secret")
          }
        end
      end
      expect { DurableStreams::Client.new(headers: { "X" => "\n" }) }.to raise_error(ArgumentError, /header x/)
      policy = DurableStreams::RetryPolicy.new.tap { |made| made.multiplier = 0 }
      expect { DurableStreams::Client.new(retry_policy: policy) }.to raise_error(ArgumentError, /multiplier/)
      after = [described_class.configuration, described_class.default_context]
      expect(after).to match(before.map { |setting| equal(setting) })
    end

    it "creates a new default context; existing streams have the old one" do
      described_class.configure { |config| config.base_url = "https://one" }
      stream = described_class.stream("/a")
      described_class.configure { |config| config.base_url = "https://two" }
      expect([stream.url, described_class.stream("/a").url]).to eq(%w[https://one/a https://two/a])
    end
  end

  it "resets the configuration" do
    described_class.configure { |config| config.base_url = "https://host" }
    described_class.reset_configuration!
    expect(described_class.configuration.base_url).to be_nil
    expect(described_class.default_context.config.base_url).to be_nil
  end

  it "creates one default context, even if several threads need it at the same time" do
    contexts = Array.new(8) { Thread.new { described_class.default_context } }.map(&:value)
    expect(contexts.uniq(&:object_id).size).to eq(1)
  end

  it "can be configured and used in a trap handler, which cannot lock a Mutex" do
    seen = Thread::Queue.new
    before = trap("USR2") do
      described_class.configure { |config| config.base_url = "https://host" }
      seen << described_class.stream("/a").url
    rescue ThreadError => e
      seen << e
    end
    Process.kill("USR2", Process.pid)
    expect(seen.pop).to eq("https://host/a")
  ensure
    trap("USR2", before || "DEFAULT")
  end

  it "creates independent contexts" do
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
      before = described_class.logger
      described_class.remove_instance_variable(:@logger) if described_class.instance_variable_defined?(:@logger)
      example.run
      described_class.logger = before
    end

    it "writes warnings to standard error until it is replaced or silenced" do
      expect(described_class.logger).to be_a(Logger).and have_attributes(level: Logger::WARN)
      described_class.logger = nil
      expect(described_class.logger).to be_nil
      own = Logger.new(nil)
      described_class.logger = own
      expect(described_class.logger).to equal(own)
    end

    it "may raise: the line and the exception go to standard error" do
      described_class.logger = Class.new(Logger) { def add(*) = raise(IOError, "disk full") }.new(nil)
      expect { described_class.report(:warn, "a line") }.to output(/a line .*IOError: disk full/).to_stderr
      before = $stderr
      $stderr = Object.new.tap { |closed| def closed.write(*) = raise(IOError, "closed stream") }
      expect(described_class.report(:warn, "a line")).to be_nil
    ensure
      $stderr = before if before
    end
  end

  it "loads Logger on first use, as the reference client does" do
    script = <<~RUBY
      require "durable_streams"
      DurableStreams.logger = Logger.new($stdout)
      DurableStreams.logger.warn("mine")
    RUBY
    load_path = $LOAD_PATH.flat_map { |path| ["-I", path] }
    output = IO.popen([RbConfig.ruby, "--disable-gems", *load_path, "-e", script], err: %i[child out], &:read)
    expect(output).to include("WARN").and end_with("mine\n")
  end

  describe ".error_from_status" do
    { 400 => :BadRequestError, 401 => :UnauthorizedError, 403 => :ForbiddenError, 404 => :StreamNotFoundError,
      409 => :StreamExistsError, 410 => :StreamGoneError, 413 => :PayloadTooLargeError, 429 => :RateLimitedError,
      418 => :FetchError, 500 => :FetchError }.each do |status, name|
      it "returns a #{name} for a #{status}" do
        error = described_class.error_from_status(status, url: "http://me:secret@h/s?token=x", body: "because")
        expect(error).to be_an_instance_of(described_class.const_get(name))
        expect(error).to have_attributes(status: status, url: "http://h/s?…", body: "because", headers: {})
        expect(error.message).not_to match(/secret|token/)
      end
    end

    it "distinguishes errors with status 403 or 409 by their headers" do
      made = ->(status, headers) { described_class.error_from_status(status, headers: headers) }
      expect(made.call(403, { "Producer-Epoch" => "7" })).to be_a(DurableStreams::StaleEpochError)
        .and have_attributes(current_epoch: 7, headers: { "producer-epoch" => "7" })
      expect(made.call(409, { "stream-closed" => "TRUE", "stream-next-offset" => "9" }))
        .to be_a(DurableStreams::StreamClosedError).and have_attributes(final_offset: "9")
      expect(made.call(409, { "producer-expected-seq" => "1", "producer-received-seq" => "3" }))
        .to be_a(DurableStreams::SequenceGapError).and have_attributes(expected_seq: 1, received_seq: 3)
      expect(made.call(409, { "stream-seq" => "b" })).to be_a(DurableStreams::SeqConflictError)
      expect(made.call(429, { "Retry-After" => "60" })).to have_attributes(retry_after: 60)
      date = (Time.now + 3600).utc.strftime("%a, %d %b %Y %H:%M:%S GMT")
      expect(made.call(429, { "Retry-After" => [date] }).retry_after).to be_within(60).of(3600)
      expect(made.call(409, { "no such\r\nname" => "\n", "x" => nil, "y" => "\xFF" }))
        .to be_a(DurableStreams::StreamExistsError)
      expect(made.call(70_000, {})).to be_a(DurableStreams::FetchError)
    end

    it "names the server's reason and the operation" do
      expect(described_class.error_from_status(400, body: "no such offset").message).to eq("no such offset")
      expect(described_class.error_from_status(500).message).to eq("HTTP 500")
      expect(described_class.error_from_status(404, url: "http://h/s", operation: "read").message)
        .to eq("read http://h/s: Stream not found")
    end
  end

  it "parses the position from response headers" do
    response = { "stream-next-offset" => "7", "stream-up-to-date" => "true" }
    expect(described_class.parse_stream_headers(response, next_offset: "1", cursor: "c"))
      .to eq(next_offset: "7", cursor: "c", up_to_date: true)
    expect(described_class.parse_stream_headers({})).to eq(next_offset: nil, cursor: nil, up_to_date: false)
  end

  it "has the protocol's header names" do
    names = described_class.constants.grep(/_HEADER\z/)
    expect(names.size).to eq(15)
    expect(names.map { |name| described_class.const_get(name) })
      .to eq(names.map { |name| name.to_s.delete_suffix("_HEADER").downcase.tr("_", "-") })
  end

  it "loads only what it needs and starts no thread" do
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
