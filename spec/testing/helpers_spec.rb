# frozen_string_literal: true

require "open3"
require "rbconfig"

# `DurableStreams::Testing::Helpers`, in separate runs of Minitest and RSpec.
RSpec.describe "DurableStreams::Testing::Helpers" do
  # An application that keeps its handles, and appends by a producer without waiting.
  application = <<~RUBY
    require "durable_streams/testing"

    DurableStreams.configure { |config| config.base_url = "https://streams.example.com/v1" }
    module Orders
      def self.stream = @stream ||= DurableStreams.stream("/orders")
      def self.once = @once ||= DurableStreams.stream("/once", exactly_once: true)
      def self.totals = @totals ||= DurableStreams::Producer.new(url: "/totals", producer_id: "totals")
      def self.place(id) = stream.append({ type: "order.created", order: { id: id, items: [7, 8] } })

      def self.log(*lines)
        producer = DurableStreams::Producer.new(url: "/log", producer_id: "log", linger_ms: 60_000)
        lines.each { |line| producer << { line: line } }
      end
    end
  RUBY

  # Runs a program with RSpec's or Minitest's runner. Its random order finds streams that one test leaves to the next.
  def run(program, *command)
    Dir.mktmpdir do |folder|
      file = File.join(folder, "a_spec.rb")
      File.write(file, program)
      Open3.capture2e(RbConfig.ruby, "-W", "-I", ChildProcess::LIB, *command, file).first
    end
  end

  def rspec(program)
    run(program, "-S", "rspec", "--options", File::NULL, "--order", "random")
  end

  minitest = <<~RUBY
    require "minitest/autorun"
    #{application}
    class OrdersTest < Minitest::Test
      include DurableStreams::Testing::Helpers

      def setup
        assert_equal [], DurableStreams::Testing.requests
        DurableStreams.create("/empty")
      end

      def teardown
        assert_empty DurableStreams.stream("/empty").read_all
      end
  RUBY

  it "give each test of Minitest empty streams" do
    output = run(<<~RUBY)
      #{minitest}
        3.times do |i|
          define_method("test_\#{i}") do
            Orders.place(i)
            message = assert_appended_to("/v1/orders")
            assert_equal [message], DurableStreams::Testing.messages_for("/v1/orders")
            assert_equal i, message.dig("order", "id")
            Orders.log("not waited for", i)
            2.times { Orders.once << i }
            3.times { |n| Orders.totals.append!(n) }
            assert_equal [[i, i], [0, 1, 2]],
                         ["/once", "/totals"].map { |path| DurableStreams::Testing.messages_for(path) }
          end
        end

        Minitest.after_run do
          puts "after: \#{DurableStreams.configuration.base_url} \#{DurableStreams::Testing.installed?}"
        end
      end
    RUBY
    expect(output).to match(/^3 runs, \d+ assertions, 0 failures, 0 errors/)
    expect(output).to include("after: https://streams.example.com/v1 false")
  end

  it "fail with a message that shows the messages, in Minitest" do
    output = run(<<~RUBY)
      #{minitest}
        def test_other
          Orders.place(1)
          assert_appended_to("/v1/orders", type: "order.deleted")
        end

        def test_none
          assert_appended_to("/v1/orders")
        end
      end
    RUBY
    expect(output).to match(/^2 runs, \d+ assertions, 2 failures, 0 errors/)
    expect(output).to include("expected that a message was appended to /v1/orders, but there is no such stream")
    expect(output).to match(%r{a message like \{.*order.deleted.*appended to /v1/orders, but .* \[\{.*order.created})
  end

  it "give each example of RSpec empty streams, also before hooks that were configured earlier" do
    output = rspec(<<~RUBY)
      #{application}
      RSpec.configure do |config|
        config.before { DurableStreams.create("/empty") }
        config.include DurableStreams::Testing::Helpers
        config.after { expect(DurableStreams.stream("/empty").read_all).to eq([]) }
        config.after(:suite) { puts "after: \#{DurableStreams.configuration.base_url}" }
      end

      RSpec.describe "Orders" do
        before { Orders.place(0) }

        3.times do |i|
          it "are placed \#{i}" do
            Orders.place(i + 1)
            assert_appended_to("/orders", order: { id: i + 1 })
            expect(DurableStreams::Testing.messages_for("/v1/orders").size).to eq(2)
          end
        end

        it("fail") { assert_appended_to("/v1/orders", "deleted") }
      end
    RUBY
    expect(output).to include("4 examples, 1 failure", "after: https://streams.example.com/v1",
                              %(expected that a message like "deleted" was appended to /v1/orders))
  end

  it "may be included for some groups or examples only" do
    output = rspec(<<~RUBY)
      #{application}
      RSpec.configure { |config| config.include DurableStreams::Testing::Helpers, :streams }

      RSpec.describe "Orders" do
        it("have streams in memory", :streams) { expect(DurableStreams::Testing).to be_installed }
        it("have none") { expect(DurableStreams::Testing).not_to be_installed }

        describe "a group", :streams do
          it("has some") { expect(DurableStreams::Testing).to be_installed }
        end
      end
    RUBY
    expect(output).to include("3 examples, 0 failures")
  end

  it "send what producers have not sent before messages are compared" do
    output = rspec(<<~RUBY)
      #{application}
      RSpec.configure { |config| config.include DurableStreams::Testing::Helpers }

      RSpec.describe "Orders" do
        before { Orders.log("é", 1) }

        it("are logged") { assert_appended_to("/v1/log", line: 1) }
        it("match") { expect(DurableStreams::Testing).to have_appended_to("/v1/log").with(line: "é") }
        it("fail") { DurableStreams::Testing.mock_transport.on(:post, "/v1/log", status: 400) }
        it("are not left") { expect(DurableStreams::Testing.messages_for("/v1/log")).to be_empty }
      end
    RUBY
    expect(output).to include("4 examples, 0 failures")
  end

  it "leave no delayed message of a producer to the next test" do
    output = run(<<~RUBY)
      #{minitest}
        2.times do |i|
          define_method("test_\#{i}") do
            Orders.totals.append!([i])
            DurableStreams::Testing.mock_transport.on(:post, "/totals", status: 503)
            Orders.totals << "[7]"
            Thread.pass until DurableStreams::Testing.requests.last(2).all? { |sent| sent[:body] == "[[7]]" }
            assert_equal [[i]], DurableStreams::Testing.messages_for("/totals")
          end
        end
      end
    RUBY
    expect(output).to match(/^2 runs, \d+ assertions, 0 failures, 0 errors/)
    expect(output[/Finished in (\S+)s/, 1].to_f).to be < 5 # How long producers are waited for.
  end

  describe "#assert_appended_to" do
    require "durable_streams/testing"
    include DurableStreams::Testing::Helpers

    def failure
      raise_error(RSpec::Expectations::ExpectationNotMetError)
    end

    it "compares each part of a message" do
      message = { "type" => "a", "n" => { "list" => [1, 2.5, nil], "more" => true } }
      DurableStreams.append("/a", 1)
      DurableStreams.append("/a", message)
      [message, { type: :a }, { type: /\Aa/ }, { n: { list: [Integer, 2..3, nil] } }, { type: ->(t) { t == "a" } },
       { n: a_hash_including("more" => true) }, Hash].each do |expected|
        expect(assert_appended_to("/a", expected)).to eq(message)
      end
      [2, "1", nil, true, { type: "b" }, { none: nil }, { n: { list: [1, 2.5] } }, { type: String, n: 1 }, Array,
       "type", [1, message], :type, { n: a_hash_including("less") }].each do |other|
        expect { assert_appended_to("/a", other) }.to failure
      end
    end

    it "finds null and false" do
      DurableStreams.append("/a", nil)
      expect(assert_appended_to("/a")).to be_nil
      expect(assert_appended_to("/a", nil)).to be_nil
      expect { assert_appended_to("/a", false) }.to failure
    end

    it "compares other objects by what the json_encoder makes of them" do
      point = Struct.new(:x, :y)
      DurableStreams.configure do |config|
        config.json_encoder = ->(data) { JSON.generate(data.map { |i| i.is_a?(Struct) ? i.to_h : i }) }
      end
      DurableStreams.append("/a", [point.new(1, 2)])
      assert_appended_to("/a", [point.new(1, 2)])
      expect { assert_appended_to("/a", [point.new(1, 3)]) }.to failure
    end

    it "compares bytes" do
      DurableStreams.append("/bytes", "\xFF\x00é", content_type: :bytes)
      assert_appended_to("/bytes", "\xFF\x00é")
      assert_appended_to("/bytes", /\xFF/n)
      expect { assert_appended_to("/bytes", "\xFF") }.to failure
    end
  end
end
