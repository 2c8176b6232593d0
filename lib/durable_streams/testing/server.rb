# frozen_string_literal: true

require "fileutils"
require "io/wait"
require "rbconfig"
require "socket"
require "tmpdir"

module DurableStreams
  module Testing
    # Runs a real Durable Streams server (`durable-streams-server`) in its own process, on a free loopback port, with
    # its own data folder. Starts, stops, kills and restarts it. Depends neither on RSpec nor on the rest of this
    # library.
    #
    # @example
    #   server = DurableStreams::Testing::Server.start(durability: :wal)
    #   server.url      # => "http://127.0.0.1:40123"
    #   server.kill     # as kill -9 does
    #   server.restart  # same port, same data
    #   server.stop
    class Server
      # The server did not start, or its program was not found. The message includes the server's log.
      class StartError < StandardError; end

      # Servers listen on this address only.
      HOST = "127.0.0.1"
      # Name of the program.
      PROGRAM = "durable-streams-server"
      # Seconds that a server may take to listen.
      START_TIMEOUT = 20
      # Seconds that a server may take to end after a TERM.
      STOP_TIMEOUT = 3
      # Another process may take the free port before the server binds it.
      START_ATTEMPTS = 5
      # Printed when the server accepts connections.
      LISTENING = /listening on/
      # Logged if another process has the port.
      PORT_TAKEN = /AddrInUse|EADDRINUSE/

      # Starts a server and returns it when it accepts connections.
      # @param options [Hash] see {#initialize}
      # @return [Server]
      # @raise [StartError] if there is no server program, or it does not start
      def self.start(**options)
        server = new(**options)
        started = server.start
      ensure
        server&.stop unless started # also if Timeout or Ctrl-C ends the wait
      end

      # @return [String] path of the program: DURABLE_STREAMS_SERVER, or the one on PATH, or the one in cargo's folder
      # @raise [StartError] if there is none
      def self.program
        named = ENV.fetch("DURABLE_STREAMS_SERVER", "")
        unless named.empty?
          return named if program?(named)

          raise StartError, "DURABLE_STREAMS_SERVER is #{named.inspect}, which is not an executable file"
        end

        folders = ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)
        cargo = ENV["CARGO_HOME"] || (ENV["HOME"] && File.join(ENV["HOME"], ".cargo"))
        folders << File.join(cargo, "bin") if cargo
        files = folders.map { |folder| File.join(folder, PROGRAM + RbConfig::CONFIG["EXEEXT"]) }
        files.find { |file| program?(file) } ||
          raise(StartError, "#{PROGRAM} is not on PATH. Install it with `cargo install durable-streams` (needs Rust, " \
                            "https://rustup.rs), or set DURABLE_STREAMS_SERVER to its path")
      end

      # @param file [String]
      # @return [Boolean] whether it is an executable file
      def self.program?(file)
        File.file?(file) && File.executable?(file)
      end
      private_class_method :program?

      # @return [Integer, nil] the port, known once started
      attr_reader :port
      # @return [Integer, nil] the process id of the last start
      attr_reader :pid
      # @return [String] the folder with the server's data
      attr_reader :data_dir
      # @return [String] the file with everything the server printed, over all its starts
      attr_reader :log_path

      # @param durability [Symbol, String] :memory (fast; data survives #restart only after #stop) or :wal (survives
      #   #kill)
      # @param data_dir [String, nil] a folder that remains after #stop; nil: a temporary folder that #stop removes
      # @param port [Integer, nil] nil: a free one
      # @param long_poll_timeout_ms [Integer, nil] how long the server holds a long-poll open; nil: the server's default
      # @param log_path [String, nil] nil: in a temporary folder that #stop removes
      # @param binary [String] the server program; see {Server.program}
      # @raise [StartError] if there is none
      def initialize(durability: :memory, data_dir: nil, port: nil, long_poll_timeout_ms: nil, log_path: nil,
                     binary: self.class.program)
        @durability = durability.to_s
        @fixed_port = port
        @long_poll_timeout_ms = long_poll_timeout_ms
        @binary = binary
        @owned_dir = Dir.mktmpdir("durable-streams-server-") unless data_dir && log_path
        @keep_data = !data_dir.nil?
        @data_dir = data_dir || File.join(@owned_dir, "data")
        @log_path = log_path || File.join(@owned_dir, "server.log")
        @owner = Process.pid
      end

      # @return [String] the base URL, without a trailing slash
      def url
        "http://#{HOST}:#{port}"
      end

      # Starts the server and waits until it accepts connections. Does nothing if it runs already.
      # @return [self]
      # @raise [StartError] if it ended, or did not listen within START_TIMEOUT seconds
      def start
        return self if running?

        FileUtils.mkdir_p([@data_dir, File.dirname(@log_path)])
        attempts = @fixed_port ? 1 : START_ATTEMPTS
        attempts.times do
          @port = @fixed_port || free_port
          return self if launch
          break unless log.match?(PORT_TAKEN)
        end
        raise StartError, "the server did not start on port #{@port}:\n#{log}"
      end

      # @return [Boolean] whether the process is alive
      def running?
        !@waiter.nil? && @waiter.alive?
      end

      # Stops the server and removes temporary folders. If the data is to remain, the server has STOP_TIMEOUT seconds
      # for an orderly end (it waits for open long-polls). In a forked child this does nothing.
      # @return [nil]
      def stop
        return if Process.pid != @owner

        @keep_data ? shut_down : kill
        @output&.close
        FileUtils.remove_entry(@owned_dir) if @owned_dir && File.exist?(@owned_dir)
        nil
      end

      # Kills the server, as a crash would. Its data remains.
      # @return [nil]
      def kill
        signal("KILL")
        @waiter&.join
        nil
      end

      # Stops the server if it runs, and starts it again on the same port and data.
      # @return [self]
      def restart
        shut_down
        @fixed_port ||= @port
        start
      end

      # Suspends the server: the kernel still accepts connections, but there are no responses until #resume.
      # @return [nil]
      def suspend
        signal("STOP")
      end

      # @return [nil]
      def resume
        signal("CONT")
      end

      # @return [String] everything the server printed so far
      def log
        File.exist?(@log_path) ? File.read(@log_path) : ""
      end

      private

      # @return [Array<String>] the program and its arguments
      def command
        command = [@binary, "--host", HOST, "--port", @port.to_s, "--data-dir", @data_dir, "--durability", @durability]
        command += ["--long-poll-timeout-ms", @long_poll_timeout_ms.to_s] if @long_poll_timeout_ms
        command
      end

      # Starts the process and reads its output until it listens or ends.
      # @return [Boolean] whether it listens
      def launch
        @output&.close
        @output, input = IO.pipe
        @pid = Process.spawn(*command, in: File::NULL, out: input, err: [@log_path, "a"])
        @waiter = Process.detach(@pid)
        input.close
        return true if listening?

        kill
        false
      end

      # The pipe remains open and unread: the server prints nothing more to it, but would not survive if it were closed.
      def listening?
        deadline = now + START_TIMEOUT
        printed = +""
        while (remaining = deadline - now).positive? && @output.wait_readable(remaining)
          part = @output.read_nonblock(4096, exception: false)
          return false if part.nil?
          next if part == :wait_readable

          File.write(@log_path, part, mode: "a")
          return true if LISTENING.match?(printed << part)
        end
        false
      end

      def shut_down
        return unless running?

        signal("CONT") # a suspended process does not handle TERM
        signal("TERM")
        @waiter.join(STOP_TIMEOUT) || kill
      end

      def signal(name)
        Process.kill(name, @pid) if running?
        nil
      rescue Errno::ESRCH
        nil # it ended between the check and the signal
      end

      def free_port
        TCPServer.open(HOST, 0) { |socket| socket.addr[1] }
      end

      def now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end
  end
end
