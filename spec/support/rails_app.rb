# frozen_string_literal: true

require "fileutils"
require "json"
require "net/http"
require "tmpdir"
require_relative "child_process"
require_relative "guide"

# A Rails application in a folder of its own: the files in spec/rails/app, and the Ruby blocks of docs/rails.md that
# begin with the name of a file. They are added to a file that is there. Its programs run in separate processes.
class RailsApp
  SKELETON = File.expand_path("../rails/app", __dir__)
  TABLES = ["orders (id INTEGER PRIMARY KEY, total DECIMAL(10, 2), created_at DATETIME, updated_at DATETIME)",
            "payments (id INTEGER PRIMARY KEY, order_id INTEGER)",
            "rooms (id INTEGER PRIMARY KEY)"].freeze

  # The gems that spec/rails needs.
  GEMS = %w[rails sqlite3 puma sidekiq].freeze

  # Whether the gems are installed. They may be missing on a release that `bin/matrix` tests.
  # @return [Boolean]
  def self.runs?
    @missing ||= GEMS.select { |gem| Gem::Specification.find_all_by_name(gem).empty? }.tap do |missing|
      next if missing.empty?

      RSpec.configuration.reporter.message("SKIPPED: spec/rails. Not installed: #{missing.join(", ")}")
    end
    @missing.empty?
  end

  # @return [Hash{String => String}] the guide's files: name => text
  def self.guide
    @guide ||= Guide.new("docs/rails.md").files
  end

  # @return [String]
  attr_reader :folder

  # @param streams_url [String] the server of the application's streams
  def initialize(streams_url)
    @folder = Dir.mktmpdir("durable-streams-rails-")
    @children = []
    @environment = { "RUBYLIB" => ChildProcess::LIB, "DURABLE_STREAMS_URL" => streams_url,
                     "DURABLE_STREAMS_TOKEN" => "secret", "RAILS_ENV" => "production" }
    FileUtils.cp_r("#{SKELETON}/.", @folder)
    self.class.guide.each { |name, text| write(name, text, mode: "a") }
    # Only the end of the process sends what a producer has.
    edit("app/services/page_views.rb", "linger_ms: 100", "linger_ms: 600_000")
    create_database
  end

  # Writes a file of the application.
  def write(name, text, mode: "w")
    path = File.join(@folder, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.write(path, text, mode: mode)
  end

  # Replaces text that a file must have.
  def edit(name, old, new)
    text = File.read(File.join(@folder, name))
    raise ArgumentError, "#{name} does not have #{old.inspect}" unless text.include?(old)

    write(name, text.sub(old, new))
  end

  # Starts a Ruby program in the application's folder.
  # @return [ChildProcess]
  def start(*arguments, environment: {})
    # `chdir` would need another shell: Ruby's -C does it.
    child = ChildProcess.command(@environment.merge(environment), RbConfig.ruby, "-C", @folder, *arguments)
    @children << child
    child
  end

  # Runs a Ruby program in the application's folder.
  # @return [String] what it printed
  # @raise [ChildProcess::Failure] if it failed
  def run(*arguments, environment: {})
    ended = start(*arguments, environment: environment).ended
    return ended.output if ended.status.success?

    raise ChildProcess::Failure, "#{arguments.join(" ")} ended with #{ended.status}, having printed:\n#{ended.output}"
  end

  # Runs Ruby code in the application, by `rails runner`.
  # @return [String] what it printed
  def runner(code, environment: {})
    run("bin/rails", "runner", code, environment: environment)
  end

  # Kills the programs that still run, and removes the folder.
  def remove
    @children.each(&:kill)
    FileUtils.rm_rf(@folder)
  end

  private

  # With the gem alone, without another process that loads Rails.
  def create_database
    require "sqlite3"
    FileUtils.mkdir_p(File.join(@folder, "db"))
    database = SQLite3::Database.new(File.join(@folder, "db", "shop.sqlite3"))
    TABLES.each { |table| database.execute("CREATE TABLE #{table}") }
    database.close
  end
end

# For specs in spec/rails: `app`, a Rails application whose streams are below `base` on the shared server.
RSpec.shared_context "with a Rails application" do
  let(:base) { server_url + unique_path("rails") }
  let(:streams) { DurableStreams::Client.new(base_url: base) }
  let(:app) { RailsApp.new(base) }

  before { %w[/orders /page_views].each { |path| streams.create(path, content_type: :json) } }
  after { app.remove }

  # @return [Array] the items of a stream
  def stored(path)
    streams.stream(path).read_all
  end

  # @return [Array<String>] the paths of the stored page views
  def stored_page_views
    stored("/page_views").map { |view| view["path"] }
  end
end
