# frozen_string_literal: true

require "etc"
require "fileutils"
require "tmpdir"
require_relative "clock"

# A real PostgreSQL server with an empty database, on a socket in a folder of its own. It does not wait for the disk.
# Independent of RSpec and of the pg gem.
#
# Examples use `postgres_settings`: one server for the whole run. Give tables names of their own.
class PostgresServer
  include Clock

  # It did not start.
  class StartError < StandardError; end

  # The folders that may contain the programs. Debian does not add its folder to PATH.
  FOLDERS = [*Dir["/usr/lib/postgresql/*/bin"].sort.reverse, *ENV.fetch("PATH", "").split(File::PATH_SEPARATOR)].freeze
  # PostgreSQL refuses to run as root. Then it runs as this user, whom its package creates.
  USER = "postgres"
  # Seconds within which it must accept connections.
  START_TIMEOUT = 60

  class << self
    # @return [String, nil] the path of a program
    def program(name)
      FOLDERS.map { |folder| File.join(folder, name) }.find { |file| File.executable?(file) }
    end

    # @return [PostgresServer] the run's server; the first call starts it
    def shared
      @shared ||= new
    end

    # Stops the run's server, if there is one.
    def stop
      @shared&.stop
      @shared = nil
    end
  end

  # Starts it, and waits until it accepts connections.
  # @raise [StartError]
  def initialize
    raise StartError, "there is no PostgreSQL; bin/setup installs it" unless self.class.program("initdb")

    @owner = Process.pid
    @folder = Dir.mktmpdir("durable-streams-postgres-")
    FileUtils.chown(USER, USER, @folder) if Process.uid.zero?
    create
    launch
  rescue StandardError
    stop
    raise
  end

  # @return [Hash{Symbol => Object}] for ActiveRecord::Base.establish_connection
  def settings
    { adapter: "postgresql", host: @folder, username: USER, database: "postgres" }
  end

  # Ends it and removes its files. In a forked child this does nothing.
  def stop
    return unless Process.pid == @owner

    if @waiter&.alive?
      Process.kill("QUIT", @pid) # at once, without waiting for connections
      @waiter.join
    end
    FileUtils.rm_rf(@folder) if @folder
  end

  private

  def create
    pid = start("initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    raise StartError, "initdb: #{log}" unless Process.wait2(pid).last.success?
  end

  def launch
    @pid = start("postgres", "-D", data, "-k", @folder, "-c", "listen_addresses=", "-c", "fsync=off",
                 "-c", "shared_buffers=16MB")
    @waiter = Process.detach(@pid)
    deadline = now + START_TIMEOUT
    until system(self.class.program("pg_isready"), "-h", @folder, "-U", USER, out: File::NULL)
      raise StartError, "postgres: #{log}" unless @waiter.alive? && now < deadline

      Thread.pass
    end
  end

  # Starts a program, as another user if this one is root.
  # @return [Integer] its process id
  def start(name, *arguments)
    Process.fork do
      become(Etc.getpwnam(USER)) if Process.uid.zero?
      Dir.chdir(@folder)
      Process.exec(self.class.program(name), *arguments, in: File::NULL, out: [log_path, "a"], err: %i[child out])
    rescue StandardError => e
      warn "#{name}: #{e.message}"
    ensure
      Process.exit!(1)
    end
  end

  def become(user)
    Process.initgroups(user.name, user.gid)
    Process::GID.change_privilege(user.gid)
    Process::UID.change_privilege(user.uid)
  end

  def data
    File.join(@folder, "data")
  end

  def log_path
    File.join(@folder, "log")
  end

  def log
    File.exist?(log_path) ? File.readlines(log_path).last(5).join.strip : "did not start"
  end
end

# `postgres_settings` in every example.
module PostgresHelpers
  # @return [Hash{Symbol => Object}] for ActiveRecord::Base.establish_connection
  def postgres_settings
    PostgresServer.shared.settings
  end
end

if defined?(RSpec.configure)
  RSpec.configure do |config|
    config.include PostgresHelpers
    config.after(:suite) { PostgresServer.stop }
  end
end
