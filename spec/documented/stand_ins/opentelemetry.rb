# frozen_string_literal: true

require "securerandom"

# What docs/observability.md uses of the gem opentelemetry-sdk, if that is not installed.
module OpenTelemetry
  NO_SPAN = ("\0" * 8).b.freeze

  module Trace
    Status = Struct.new(:description) do
      singleton_class.alias_method(:error, :new)
    end

    class Span
      attr_reader :name, :attributes, :span_id, :parent_span_id, :start_timestamp, :end_timestamp, :events
      attr_accessor :status

      def initialize(name, attributes, start_timestamp)
        allowed = [String, Integer, Float, TrueClass, FalseClass]
        wrong = attributes.reject { |key, value| key.is_a?(String) && allowed.include?(value.class) }
        raise ArgumentError, "wrong attributes: #{wrong}" unless wrong.empty?

        @name = name
        @attributes = attributes
        @span_id = SecureRandom.bytes(8)
        @parent_span_id = Thread.current[:span]&.span_id || NO_SPAN
        @start_timestamp = nanoseconds(start_timestamp)
      end

      def record_exception(error)
        (@events ||= []) << error
      end

      def finish(end_timestamp: Time.now)
        @end_timestamp = nanoseconds(end_timestamp)
        EXPORTER.finished_spans << self
      end

      private

      def nanoseconds(time)
        (time.to_r * 1_000_000_000).to_i
      end
    end

    class Tracer
      def start_span(name, kind: :internal, start_timestamp: Time.now, attributes: {})
        raise ArgumentError, "unknown kind #{kind}" unless %i[internal client server producer consumer].include?(kind)

        Span.new(name, attributes, start_timestamp)
      end

      def in_span(name)
        span = start_span(name)
        Thread.current[:span] = span
        yield span
      ensure
        Thread.current[:span] = nil
        span.finish
      end
    end
  end

  class << self
    def tracer_provider
      self
    end

    def tracer(_name)
      Trace::Tracer.new
    end

    def propagation
      self
    end

    def inject(carrier)
      span = Thread.current[:span]
      carrier["traceparent"] = "00-#{"1" * 32}-#{span.span_id.unpack1("H*")}-01" if span
      nil
    end
  end
end

# As an exporter of the gem.
EXPORTER = Struct.new(:finished_spans).new([])
