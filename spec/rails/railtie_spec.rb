# frozen_string_literal: true

# What differs in a Rails application. Its programs print what the examples expect.
RSpec.describe "Rails", if: RailsApp.runs? do
  include_context "with a Rails application"

  # Runs code in the application; it returns a Hash.
  # @return [Hash{String => Object}]
  def evaluate(code, environment: {})
    printed = app.runner("result = begin\n#{code}\nend\nputs JSON.generate(result)", environment: environment)
    JSON.parse(printed.lines.last)
  end

  settings = <<~RUBY
    { logger: DurableStreams.logger.equal?(Rails.logger),
      encoder: DurableStreams.configuration.json_encoder == ActiveSupport::JSON.method(:encode) }
  RUBY

  # In one run, because each takes a second.
  it "logs to Rails.logger and encodes as Active Support does, in streams, producers and clients" do
    encoded = evaluate(<<~RUBY, environment: { "EAGER_LOAD" => "1" })
      Time.zone = "Vienna"
      values = { time: Time.at(1.5), zoned: Time.zone.at(1), date: Date.new(2024, 5, 1), duration: 90.minutes,
                 set: Set[1, 2], decimal: BigDecimal("1.50"), html: "<b>".html_safe, symbol: :a, range: 1..2,
                 record: Order.new(total: 1), nan: Float::NAN, nested: [{ at: Time.at(0) }] }
      client = DurableStreams::Client.new(base_url: DurableStreams.configuration.base_url)
      [DurableStreams, client].each { |context| context.stream("/orders", content_type: :json).append(values) }
      DurableStreams::Producer.open(url: "/orders", producer_id: "p") { |producer| producer << values }
      DurableStreams.append("/orders", Time.at(0))
      #{settings.strip}.merge(expected: ActiveSupport::JSON.encode([values, Time.at(0)]))
    RUBY
    expect(encoded).to include("logger" => true, "encoder" => true)
    values, time = JSON.parse(encoded["expected"])
    expect(stored("/orders")).to eq([values, values, values, time])
    expect(stored("/orders").first).to include("duration" => 5400, "set" => [1, 2], "decimal" => "1.5", "html" => "<b>")
  end

  it "publishes events to ActiveSupport::Notifications, and logs them" do
    seen = evaluate(<<~RUBY)
      Rails.logger = Logger.new(log = StringIO.new)
      names = []
      ActiveSupport::Notifications.subscribe(/durable_streams/) { |event| names << event.name }
      DurableStreams.stream("/orders", content_type: :json).append({ total: 1 })
      { names: names, log: log.string.scan(/Durable Streams (\\w+)/).flatten }
    RUBY
    expect(seen).to eq("names" => %w[request.durable_streams append.durable_streams], "log" => %w[request append])
  end

  it "leaves settings that the application has chosen" do
    app.write("config/initializers/chosen.rb", <<~RUBY)
      LOGGER = DurableStreams.logger = Logger.new(nil)
      DurableStreams.configure { |config| config.json_encoder = JSON.method(:generate) }
    RUBY
    expect(evaluate(<<~RUBY)).to eq("logger" => true, "encoder" => true)
      { logger: DurableStreams.logger.equal?(LOGGER),
        encoder: DurableStreams.configuration.json_encoder == JSON.method(:generate) }
    RUBY
  end

  it "generates an initializer, which works if durable_streams was loaded before Rails" do
    printed = app.run("bin/rails", "generate", "durable_streams:initializer", "--force")
    expect(printed).to match(%r{config/initializers/durable_streams.rb})
    expect(evaluate(<<~RUBY, environment: { "LOAD_RAILS_LAST" => "1" }))
      #{settings.strip}.merge(base: DurableStreams.configuration.base_url)
    RUBY
      .to eq("logger" => true, "encoder" => true, "base" => base)
  end

  # A Gemfile may have `require: false`, and other gems may load parts of Rails.
  it "loads the library and Rails in any order" do
    orders = [%w[rails durable_streams/railtie], %w[durable_streams/railtie rails], %w[rails/railtie durable_streams],
              %w[durable_streams durable_streams/railtie rails], %w[durable_streams/railtie]]
    orders.each do |files|
      printed = app.run("-w", "-e", <<~RUBY)
        circles = []
        Warning.define_singleton_method(:warn) { |text, **| circles.concat(text.scan(/circular.*durable_streams.*/)) }
        #{files.map { |file| "require #{file.dump}" }.join("\n")}
        encoder = DurableStreams.configuration.json_encoder
        p [encoder == ActiveSupport::JSON.method(:encode), encoder.call([1.5.to_d]), DurableStreams.logger.class, circles]
      RUBY
      expect(printed.lines.last).to eq(%([true, "[\\"1.5\\"]", Logger, []]\n)), "#{files.join(", ")}: #{printed}"
    end
  end

  # The gem durable_streams-rails defines such constants and settings.
  it "works with an extension that defines DurableStreams::Rails and config.durable_streams" do
    app.write("extension.rb", <<~RUBY)
      module DurableStreams
        module Rails
          class Railtie < ::Rails::Railtie
            config.durable_streams = ActiveSupport::OrderedOptions.new
            initializer "durable_streams.settings", after: :load_config_initializers do |app|
              DurableStreams.configure { |config| config.base_url = app.config.durable_streams.url }
            end
          end

          module Broadcasts
            def broadcast_to(room, message) = stream("rooms/\#{room.to_gid}/messages").append(message)
          end
        end

        extend Rails::Broadcasts
      end
    RUBY
    app.write("config/initializers/extension.rb", "Rails.application.config.durable_streams.url = #{base.dump}")
    expect(evaluate(<<~RUBY, environment: { "EXTENSION" => File.join(app.folder, "extension") }))
      room = Room.create!
      DurableStreams.broadcast_to(room, { at: 1.day })
      DurableStreams.logger = DurableStreams.logger
      #{settings.strip}.merge(read: room.messages.read_all)
    RUBY
      .to eq("logger" => true, "encoder" => true, "read" => [{ "at" => 86_400 }])
  end

  it "without an extension has no config.durable_streams" do
    expect(evaluate("{ config: (Rails.application.config.durable_streams rescue $!.class.name),
                       constant: DurableStreams.const_defined?(:Rails, false) }"))
      .to eq("config" => "NoMethodError", "constant" => false)
  end

  it "sends what producers have when `rails runner` ends, also after classes were reloaded" do
    printed = evaluate(<<~RUBY, environment: { "RAILS_ENV" => "development", "RELOAD" => "1" })
      before = PageViews.object_id
      PageViews.track({ path: "/before" })
      Order.create!(total: 1)
      Rails.application.reloader.reload!
      GC.start
      PageViews.track({ path: "/after" })
      Order.create!(total: 2)
      { reloaded: before != PageViews.object_id }
    RUBY
    expect(printed).to eq("reloaded" => true)
    expect(stored_page_views).to match_array(%w[/before /after])
    expect(stored("/orders").map { |order| order["total"] }).to eq(%w[1.0 2.0])
  end
end
