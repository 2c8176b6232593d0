# frozen_string_literal: true

require "json"
require "rbconfig"
require "tmpdir"

class Cluster
  # The running programs of a cluster, by name: this process's side of the Supervisor. May be used from any thread.
  class Programs
    SUPERVISOR = File.expand_path("supervisor.rb", __dir__)
    # Loopback needs no proxy.
    ENVIRONMENT = {
      "http_proxy" => nil, "https_proxy" => nil, "all_proxy" => nil,
      "HTTP_PROXY" => nil, "HTTPS_PROXY" => nil, "ALL_PROXY" => nil, "RUST_LOG" => "warn"
    }.freeze

    # @return [String] a folder for the programs' files, removed when they end
    attr_reader :folder

    def initialize
      @folder = Dir.mktmpdir("cluster-")
      @owner = Process.pid
      @lock = Mutex.new
      @pipe = IO.popen([RbConfig.ruby, "--disable=gems", SUPERVISOR, @folder], "r+", pgroup: true)
      @pipe.sync = true
    end

    # @param name [String]
    # @param command [Array<String>] the program with its arguments
    # @return [nil]
    def start(name, command)
      tell("start", name, command, ENVIRONMENT, log_path(name))
      nil
    end

    # Sends SIGKILL. Returns when the program has ended.
    # @param name [String]
    # @return [nil]
    def kill(name)
      tell("kill", name)
      nil
    end

    # @param name [String]
    # @param signal [String] such as "STOP"
    # @return [nil]
    def signal(name, signal)
      tell("signal", name, signal)
      nil
    end

    # @param name [String]
    # @return [Boolean]
    def running?(name)
      tell("running", name)
    end

    # @param name [String]
    # @return [String] all that the program has printed
    def log(name)
      File.exist?(log_path(name)) ? File.read(log_path(name)) : ""
    end

    # Ends all programs and removes the folder. Does nothing in a forked child.
    # @return [nil]
    def stop
      return if Process.pid != @owner

      @lock.synchronize { @pipe.close unless @pipe.closed? } # close waits until the supervisor ends
      nil
    end

    private

    def log_path(name)
      File.join(@folder, "#{name}.log")
    end

    def tell(*command)
      response = @lock.synchronize do
        @pipe.puts(JSON.generate(command))
        @pipe.gets
      end
      raise StartError, "the supervisor of the cluster has ended" unless response

      JSON.parse(response)
    end
  end
end
