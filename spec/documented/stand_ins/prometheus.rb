# frozen_string_literal: true

# What docs/observability.md uses of the gem prometheus-client, if that is not installed.
module Prometheus
  module Client
    class Metric
      def initialize(labels)
        @labels = labels.sort
        @values = Hash.new(0.0)
      end

      def add(number, labels)
        raise ArgumentError, "labels must be #{@labels}" unless labels.keys.sort == @labels

        @values[labels] += number
      end
    end

    class Counter < Metric
      def increment(by: 1, labels: {})
        add(by, labels)
      end

      def get(labels: {})
        @values[labels]
      end
    end

    class Histogram < Metric
      def observe(value, labels: {})
        add(value, labels)
      end

      def get(labels: {})
        { "sum" => @values[labels] }
      end
    end

    class Registry
      def initialize
        @metrics = {}
      end

      def counter(name, docstring:, labels: [])
        raise ArgumentError, "docstring must not be empty" if docstring.empty?

        @metrics[name] = Counter.new(labels)
      end

      def histogram(name, docstring:, labels: [])
        raise ArgumentError, "docstring must not be empty" if docstring.empty?

        @metrics[name] = Histogram.new(labels)
      end

      def get(name)
        @metrics.fetch(name)
      end
    end

    def self.registry
      @registry ||= Registry.new
    end
  end
end
