# frozen_string_literal: true

require "durable_streams/testing"
require "fileutils"
require "logger"

# Requires a gem's file. Without the gem, the guide requires an empty file, and the block defines what it uses.
def require_or(file)
  require file
rescue LoadError
  FileUtils.mkdir_p("stand_ins/#{File.dirname(file)}")
  File.write("stand_ins/#{file}.rb", "")
  $LOAD_PATH.unshift(File.expand_path("stand_ins"))
  yield
end

require_or("prometheus/client") { require_relative "../stand_ins/prometheus" }
require_or("opentelemetry/sdk") { require_relative "../stand_ins/opentelemetry" }

DurableStreams.logger = Logger.new("log")

if defined?(OpenTelemetry::SDK)
  EXPORTER = OpenTelemetry::SDK::Trace::Export::InMemorySpanExporter.new
  OpenTelemetry::SDK.configure do |config|
    config.add_span_processor(OpenTelemetry::SDK::Trace::Export::SimpleSpanProcessor.new(EXPORTER))
  end
end

def spans(name)
  EXPORTER.finished_spans.select { |span| span.name.start_with?(name) }
end

def counted(name, **labels)
  Prometheus::Client.registry.get(:"durable_streams_#{name}").get(labels: labels)
end

def verify(claims)
  claims.each { |claim, holds| raise "#{claim}: it is not so" unless holds }
end

# The guide has no failures. These are in memory.
def append_in_vain(stream, faults)
  faults.on(:post, "/events", status: 429, times: 1)
  OpenTelemetry.tracer_provider.tracer("specs").in_span("failing") do
    stream.append(1)
    faults.on(:post, "/events", status: 413, times: 1)
    stream.append(2)
  rescue DurableStreams::PayloadTooLargeError
    nil
  end
end

def lose_connection(stream, faults)
  stream.read_json(live: :long_poll) do |reader|
    reader.next
    faults.on(:get, "/events", error: :connection, times: 1)
    stream.append(3)
    reader.next
  end
end

def fail_producer(stream)
  producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", linger_ms: 60_000)
  producer.append!(4)
  stream.close_stream
  producer << 5 << 6
  producer.flush
rescue DurableStreams::ProducerError
  DurableStreams::CallbackThreads.finish(60) # delivers the events
end

GuideProgram.finish do
  verify("the spans of the guide's call are children of its span" =>
           spans("append").last.parent_span_id == spans("order").last.span_id)

  DurableStreams::Testing.install!
  faults = DurableStreams::Testing.mock_transport
  client = DurableStreams::Client.new(headers: { "traceparent" => -> { traceparent(OpenTelemetry.propagation) } })
  stream = client.create("/events", content_type: :json)
  append_in_vain(stream, faults)
  lose_connection(stream, faults)
  fail_producer(stream)

  failed = spans("append").find(&:events)
  parent = spans("failing").first.span_id
  traces = DurableStreams::Testing.requests.map { |request| request[:headers]["traceparent"] }.compact
  traces = traces.map { |trace| trace[/\h{16}(?=-\h\h\z)/] }
  verify("retries are counted" => counted("retries_total", operation: :append) == 1,
         "requests are timed" => counted("request_seconds", operation: :append, status: 413)["sum"].positive?,
         "stored messages are counted" => counted("stored_messages_total") == 1,
         "undelivered messages are counted" => counted("undelivered_messages_total") == 2,
         "outages are counted" => counted("outages_total", mode: :long_poll) == 1,
         "errors are in spans" => failed.status.description.include?("413") && failed.parent_span_id == parent,
         "spans have the times of events" => spans("request").last(5).all? do |span|
           (span.end_timestamp - span.start_timestamp).between?(1, 60_000_000_000)
         end,
         "batches have no parent" => spans("batch").first.parent_span_id != parent,
         "the server gets the caller's trace" => traces == [parent.unpack1("H*")] * 3,
         "no subscriber raises" => !File.read("log").include?("a subscriber of"))
end
