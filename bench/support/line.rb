# frozen_string_literal: true

module Bench
  # One line of the table. `prepare` and `check` run beside the server and use no client; `work` runs in a child process
  # that has loaded one client, and uses nothing but what both clients have. Everything is made anew for every run.
  class Line
    # Why a figure does not count.
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

      # @param id [String] what the command line calls it
      # @param title [String] what the table calls it
      def line(id, title)
        @id = id
        @title = title
      end

      # Declares something that is measured: see {Figure#initialize}.
      def figure(...)
        figures << Figure.new(...)
      end

      def figures
        @figures ||= []
      end

      attr_reader :id, :title

      # @return [String, nil] why the line cannot be measured on this machine at all
      def unavailable
        nil
      end
    end

    # @param quick [Boolean] whether to do with less
    def initialize(quick: false)
      @quick = quick
    end

    # @return [Hash] what the child is told, beside "client"; may be without effect on the server
    # @param url [String] of a stream that nobody else uses
    # @param client [String] "gem", "reference" or "floor"
    def prepare(url, client)
      { "url" => url, "client" => client }
    end

    # In the child: does the work. Raises Unequal if what came is not what was sent.
    # @param params [Hash] from {#prepare}
    # @return [Hash{Symbol => Numeric}] by the keys of figures
    def work(params)
      raise NotImplementedError
    end

    # Raises Unequal unless the server has what was sent.
    # @param params [Hash] from {#prepare}
    def check(params); end

    # @param _url [String] of a stream that nobody else uses
    # @param _floors [Floors]
    # @return [Hash{Symbol => Numeric}] what is possible without a client, by the keys of figures
    def floor(_url, _floors)
      {}
    end

    # @return [Integer, nil] how long #work may take, in seconds
    def limit
      180
    end

    # @return [String, nil] why the line cannot be measured with this client
    def missing(_client)
      nil
    end

    # Starts what clients are to reach the server through, if anything.
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

    # @return [Integer] the first, or with --quick the second
    def count(full, quick)
      @quick ? quick : full
    end

    def ensure_equal(actual, expected, what)
      raise Unequal, "#{what}: what was read back is not what was sent" unless actual == expected
    end

    # @return [Float] how many seconds the block took, which is what a profile shows
    def timed(&block)
      Measure.profiled { Measure.seconds(&block) }
    end

    # Makes a handle of whichever client is loaded.
    def stream(params, type = "application/json")
      DurableStreams::Stream.new(params.fetch("url"), content_type: type)
    end
  end
end
