# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "child_process"
require_relative "postgres"

# Databases for examples with ActiveRecord. It runs in forked children only: ActiveSupport changes Ruby's own classes,
# for example how they are encoded as JSON, and the other examples are about programs without it.
module Databases
  KINDS = %i[sqlite postgres].freeze

  # Connects this process, which must not be the one that runs the specs.
  # @param settings [Hash] for ActiveRecord::Base.establish_connection
  def self.connect(settings)
    quietly { require "active_record" }
    ::ActiveRecord::Base.establish_connection(settings)
  end

  # Creates the tables `checkpoints` (model `Saved`) and `effects`, with a number (model `Effect`), in the database.
  # Drops those of earlier examples.
  def self.create_tables
    ::ActiveRecord::Schema.verbose = false
    ::ActiveRecord::Schema.define do
      create_table(:checkpoints, force: true) do |table|
        table.string :name, null: false, index: { unique: true }
        table.string :offset
        table.timestamps
      end
      create_table(:effects, force: true) { |table| table.integer :number }
    end
    Object.const_set(:Saved, Class.new(::ActiveRecord::Base) { self.table_name = "checkpoints" })
    Object.const_set(:Effect, Class.new(::ActiveRecord::Base))
  end

  # Debian's versions of these gems have warnings.
  def self.quietly
    verbose = $VERBOSE
    $VERBOSE = nil
    yield
  ensure
    $VERBOSE = verbose
  end

  # Runs the block in a forked child that is connected to a database with these tables.
  # @param kind [Symbol] see KINDS
  # @return [Object] the block's value
  def in_database(kind)
    settings = database_settings(kind)
    ChildProcess.run do
      Databases.connect(settings)
      Databases.quietly { Databases.create_tables }
      yield
    end
  end

  # @return [Hash] for Databases.connect
  def database_settings(kind)
    return postgres_settings if kind == :postgres

    @database_folder ||= Dir.mktmpdir
    { adapter: "sqlite3", database: File.join(@database_folder, "db.sqlite3"), timeout: 10_000 }
  end

  # @api private
  def remove_databases
    FileUtils.rm_rf(@database_folder) if @database_folder
  end
end

RSpec.configure do |config|
  config.include Databases, :databases
  config.after(:each, :databases) { remove_databases }
end
