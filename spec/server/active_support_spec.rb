# frozen_string_literal: true

require "json"

# In separate programs, because Active Support changes a process for good.
RSpec.describe "durable_streams/active_support", if: Gem::Specification.find_all_by_name("activesupport").any? do
  logger = <<~RUBY
    DurableStreams.logger = Logger.new($stdout, formatter: ->(level, *, text) { "\#{level} \#{text}\\n" })
  RUBY

  # Runs a program whose `url` is that of a new JSON stream.
  # @return [String] its output
  def run(program)
    path = unique_path("notifications")
    DurableStreams::Client.open(base_url: server_url) { |client| client.create(path, content_type: :json) }
    ended = ChildProcess.program(<<~RUBY + program, server_url + path, options: ["-W0"])
      require "durable_streams/active_support"
      require "json"
      require "stringio"
      def url = ARGV[0]
      def stream = @stream ||= DurableStreams::Stream.new(url, content_type: :json)
    RUBY
    expect(ended.status).to be_success, ended.output
    ended.output
  end

  it "publishes to every kind of subscriber once, with the event's own times and payload" do
    seen = JSON.parse(run(<<~RUBY))
      SEEN = []
      DurableStreams.logger = nil

      def note(kind, name, started, ended, payload, milliseconds = (ended - started) * 1_000)
        ago = Time.now - started
        SEEN << [kind, name, ago.between?(0.2, 60), milliseconds.between?(200, 60_000), payload]
      end

      class Attached < ActiveSupport::Subscriber
        def append(event)
          note(:attached, event.name, event.time, event.end, event.payload, event.duration)
        end
      end

      name = "append.durable_streams"
      notifications = ActiveSupport::Notifications
      notifications.subscribe(name) { |one, started, ended, _id, payload| note(:timed, one, started, ended, payload) }
      notifications.subscribe { |one, *times, _id, payload| note(:all, one, *times, payload) if one == name }
      notifications.subscribe(/append/) do |event|
        note(:object, event.name, event.time, event.end, event.payload, event.duration)
      end
      Attached.attach_to(:durable_streams)
      2.times { require "durable_streams/active_support" }
      DurableStreams::Events.publish(name, Time.now - 0.5, 0.25, { url: "u", bytes: 2, next_offset: "7", together: 1 })
      puts JSON.generate(SEEN)
    RUBY
    payload = { "url" => "u", "bytes" => 2, "next_offset" => "7", "together" => 1 }
    expect(seen).to match_array(%w[timed all object attached].map do |kind|
      [kind, "append.durable_streams", true, true, payload]
    end)
  end

  it "adds the exception, as Rails does, and keeps the order of events" do
    seen = JSON.parse(run(<<~RUBY))
      seen = []
      DurableStreams.logger = nil
      ActiveSupport::Notifications.subscribe(/durable_streams/) do |event|
        exception = event.payload[:exception_object]
        seen << [event.name, event.payload[:exception], exception&.class&.name, event.payload[:url] == url]
      end
      stream.append("1")
      stream.close_stream
      begin
        stream.append("2")
      rescue DurableStreams::StreamClosedError => e
        seen << e.message
      end
      puts JSON.generate(seen)
    RUBY
    message = seen.pop
    request = ["request.durable_streams", nil, nil, true]
    error = "DurableStreams::StreamClosedError"
    expect(seen).to eq([request, ["append.durable_streams", nil, nil, true], request, request,
                        ["append.durable_streams", [error, message], error, true]])
  end

  it "changes no result if a subscriber raises" do
    output = run(<<~RUBY)
      #{logger}
      DurableStreams.logger.level = Logger::ERROR
      ActiveSupport::Notifications.subscribe(/append/) { |event| raise event.name }
      p stream.append("1").next_offset == stream.head.next_offset
    RUBY
    expect(output).to match(/\AERROR .*a subscriber of append\.durable_streams raised .*\ntrue\n\z/)
  end

  describe "with its log subscriber" do
    # The lines, without times and the stream's URL.
    def lines(program)
      output = run(program)
      output.gsub(%r{http://[\w.-]+:\d+[\w./-]*}, "URL").gsub(/\(\d+\.\d ms\)/, "(MS)").lines(chomp: true)
    end

    it "writes a line for each event of a real run" do
      written = lines(<<~RUBY)
        #{logger}
        stream.append({ "a" => 1 })
        stream.read_json.to_a
        DurableStreams::Producer.open(stream: stream, producer_id: "p") { |producer| producer << 1 << 2 }
        DurableStreams::CallbackThreads.finish(60)
        begin
          DurableStreams::Stream.new(url + "-none", content_type: :json).append("1")
        rescue DurableStreams::StreamNotFoundError
          nil
        end
      RUBY
      offset = /next offset \w+/
      expect(written).to match(
        [/\ADEBUG Durable Streams request \(MS\) POST URL: 20\d, 9 B sent, 0 B received\z/,
         /\AINFO Durable Streams append \(MS\) URL: 7 B, #{offset}\z/,
         /\ADEBUG Durable Streams request \(MS\) GET URL: 200, 0 B sent, 9 B received\z/,
         /\ADEBUG Durable Streams read \(MS\) URL: 1 item, catch_up, #{offset}\z/,
         /\ADEBUG Durable Streams request \(MS\) HEAD URL: 200, /,
         /\ADEBUG Durable Streams request \(MS\) POST URL: 200, 5 B sent, /,
         /\AINFO Durable Streams batch \(MS\) URL: 2 messages, 5 B, producer p, epoch 0, number 0\z/,
         /\ADEBUG Durable Streams request \(MS\) POST URL: 404, /,
         /\AWARN Durable Streams append \(MS\) URL: 1 B, failed: DurableStreams::StreamNotFoundError: append to URL: /]
      )
    end

    # What it writes for an event; DURATION is in seconds.
    examples = {
      [:request, { method: "GET", url: "u", status: nil, attempt: 2, bytes_sent: 0, bytes_received: 0 }, 0.0123] =>
        "DEBUG Durable Streams request (12.3 ms) GET u: no response, attempt 2, 0 B sent, 0 B received",
      [:retry, { operation: :append, url: "u", attempt: 1, delay: 0.125, reason: "rate limited (429)" }, 0.0] =>
        "WARN Durable Streams retry append u: attempt 1 failed: rate limited (429), again in 0.13 s",
      [:retry, { operation: :read, url: "u", attempt: 2, delay: 5.0, reason: "server error (503)" }, 0.0] =>
        "DEBUG Durable Streams retry read u: attempt 2 failed: server error (503), again in 5.0 s",
      [:append, { url: "u", bytes: 7, next_offset: "9", together: 3 }, 0.001] =>
        "INFO Durable Streams append (1.0 ms) u: 7 B, next offset 9, 3 appends in the request",
      [:batch, { url: "u", producer_id: "p", epoch: 1, seq: 4, messages: 1, bytes: 9, attempts: 2, duplicate: true,
                 next_offset: nil }, 0.001] =>
        "INFO Durable Streams batch (1.0 ms) u: 1 message, 9 B, producer p, epoch 1, number 4, 2 attempts",
      [:claim, { url: "u", producer_id: "p", from: 0, to: 3 }, 0.0] =>
        "INFO Durable Streams claim u: producer p, epoch 3 after 0",
      [:producer_failed, { url: "u", producer_id: "p", undelivered: 2, error: nil }, 0.0] =>
        "ERROR Durable Streams producer failed u: producer p, 2 messages undelivered, failed: IOError: disk",
      [:read, { url: "u", mode: :sse, bytes: 12, next_offset: "9", up_to_date: true }, 0.002] =>
        "DEBUG Durable Streams read (2.0 ms) u: 12 B, sse, next offset 9",
      [:disconnect, { url: "u", mode: :sse, offset: "9", reason: "lost", attempts: 1 }, 0.0] =>
        "DEBUG Durable Streams disconnect u: sse, at offset 9, lost",
      [:reconnect, { url: "u", mode: :sse, offset: "9", reason: "lost", attempts: 3 }, 1.0] =>
        "DEBUG Durable Streams reconnect (1000.0 ms) u: sse, at offset 9, after 3 failed attempts",
      [:message, { subscription: "jobs", stream: "/s", offset: "9", generation: 2 }, 0.001] =>
        "DEBUG Durable Streams message (1.0 ms): subscription jobs, stream /s, offset 9, generation 2",
      [:claimed, { subscription: "jobs", stream: nil, offset: nil, generation: 2 }, 0.0] =>
        "INFO Durable Streams claimed: subscription jobs, generation 2",
      [:fenced, { subscription: "jobs", stream: nil, offset: nil, generation: 2 }, 0.0] =>
        "WARN Durable Streams fenced: subscription jobs, generation 2"
    }

    it "writes a readable line for every event" do
      written = run(<<~RUBY).lines(chomp: true)
        #{logger}
        events = #{examples.keys.inspect}
        events.each do |name, payload, duration|
          error = IOError.new("disk") if name == :producer_failed
          DurableStreams::Events.publish("\#{name}.durable_streams", Time.now, duration, payload, error)
        end
      RUBY
      expect(written).to eq(examples.values)
      expect(examples.keys.map(&:first).uniq.map { |name| "#{name}.durable_streams" })
        .to match_array(DurableStreams::Events::NAMES)
    end

    it "writes nothing after it was detached, without a logger, or to one that cannot" do
      output = run(<<~RUBY)
        simple = Class.new { %i[warn info error].each { |severity| define_method(severity) { |text| puts(text) } } }.new
        [nil, simple].each do |logger|
          DurableStreams.logger = logger
          stream.append("1")
        end
        #{logger}
        DurableStreams::LogSubscriber.detach_from :durable_streams
        stream.append("1")
      RUBY
      expect(output).to eq("")
    end

    it "follows the level of the logger" do
      output = run(<<~RUBY)
        #{logger}
        DurableStreams.logger.level = Logger::INFO
        stream.append("1")
      RUBY
      expect(output).to match(/\AINFO Durable Streams append .*\n\z/)
    end
  end
end
