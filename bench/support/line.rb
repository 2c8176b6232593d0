# frozen_string_literal: true

module Bench
  # One line of the table. `prepare` and `check` run in the main process and use no client. `work` runs in a child
  # process with one client and uses only what both clients have. Every run uses new objects, streams and processes.
  class Line
    # What was read back differs from what was sent, so the figure does not count.
    class Unequal < StandardError; end

    class << self
      # @return [Array<Class>] all lines, in the table's order
      def all
        @all ||= []
      end

      def inherited(line)
        super
        Line.all << line
      end

      # @param id [String] its name on the command line
      # @param title [String] its name in the table
      def line(id, title)
        @id = id
        @title = title
      end

      # Declares a figure that the line measures: see {Figure#initialize}.
      def figure(...)
        figures << Figure.new(...)
      end

      def figures
        @figures ||= []
      end

      attr_reader :id, :title

      # @return [Boolean] whether the line is measured only if it is named
      def on_request?
        false
      end

      # @return [String, nil] why this machine cannot measure the line
      def unavailable
        nil
      end
    end

    # @param quick [Boolean] whether to measure small amounts
    def initialize(quick: false)
      @quick = quick
    end

    # Prepares the server for {#work}.
    # @param url [String] URL of a stream that no other run uses
    # @param client [String] "gem", "reference" or "floor"
    # @return [Hash] the parameters of the child, which include "client"
    def prepare(url, client)
      { "url" => url, "client" => client }
    end

    # Measures, in the child. Raises Unequal if what was read differs from what was sent.
    # @param params [Hash] from {#prepare}
    # @return [Hash{Symbol => Numeric}] the figures by their keys
    def work(params)
      raise NotImplementedError
    end

    # Raises Unequal unless the server has stored what was sent.
    # @param params [Hash] from {#prepare}
    def check(params); end

    # Measures what is possible without a client.
    # @param _url [String] URL of a stream that no other run uses
    # @param _floors [Floors]
    # @return [Hash{Symbol => Numeric}] the figures by their keys
    def floor(_url, _floors)
      {}
    end

    # @return [Integer, nil] seconds that #work may take
    def limit
      180
    end

    # @return [String, nil] why this client cannot be measured
    def missing(_client)
      nil
    end

    # Starts the proxy through which clients reach the server, if the line uses one.
    # @param _server [TestServer]
    # @return [#stop, nil]
    def front(_server)
      nil
    end

    # Options of the server.
    # @return [Hash]
    def server_options
      {}
    end

    private

    # @return [Integer] `full`, or `quick` with --quick
    def count(full, quick)
      @quick ? quick : full
    end

    def ensure_equal(actual, expected, what)
      raise Unequal, "#{what}: the data read back differ from the data sent" unless actual == expected
    end

    # Times the block and marks it for a profile.
    # @return [Float] seconds
    def timed(&block)
      Measure.profiled { Measure.seconds(&block) }
    end

    # @return [DurableStreams::Stream] a handle of the loaded client
    def stream(params, type = "application/json")
      DurableStreams::Stream.new(params.fetch("url"), content_type: type)
    end
  end
end
