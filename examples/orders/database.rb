# frozen_string_literal: true

require "active_record"
require "active_record/connection_adapters/sqlite3_adapter"
require_relative "shop"

# The tables of the shop, and their models.
module Shop
  # An order. The customer's side chooses its number, so that it can send an order again.
  class Order < ActiveRecord::Base
    validates :number, length: { in: 1..100 }
    validates :product, inclusion: { in: PRODUCTS }
    validates :quantity, inclusion: { in: 1..99 }
    after_commit :publish, on: :create

    # Orders whose process was killed before it had published them, or could not reach the streams.
    scope :unpublished, -> { where(published: false).where("created_at < ?", Time.now.utc - 2) }

    # Publishes the order. May be repeated, by any process: each stream stores the order once.
    def publish
      [Shop.orders(id % STREAMS), Shop.state].each do |stream|
        Shop.append_once(stream, "order-#{id}") do |changes|
          changes.insert("order", number, { product: product, quantity: quantity }, timestamp: created_at)
        end
      end
      update_columns(published: true)
    rescue DurableStreams::DurableStreamError => e
      warn("order #{number} will be published later: #{e.message}")
    end
  end

  # What the shop has of a product.
  class Product < ActiveRecord::Base
  end

  # The effect of an order. Nothing in the table prevents two for one order: the checkpoint does.
  class Shipment < ActiveRecord::Base
    # Ships an order of a stream.
    # @param change [Hash] the stream's item
    def self.of(change, worker)
      create!(order_number: change["key"], worker: worker)
      product, quantity = change["value"].values_at("product", "quantity")
      Product.where(name: product).update_all(["stock = stock - ?", quantity])
    end
  end

  # How far each stream of orders is shipped.
  class Checkpoint < ActiveRecord::Base
  end

  # Seconds that a write waits for those of other processes and threads.
  PATIENCE = 30

  # Connects this process to the database. SQLite has one writer at a time. Before Rails 8, two things help with that.
  def self.connect
    # A thread that waits for the lock lets the thread run that has it.
    ActiveRecord::ConnectionAdapters::SQLite3Adapter.set_callback(:checkout, :after) do |connection|
      connection.raw_connection.busy_handler { |tries| sleep(0.01) && tries < PATIENCE * 100 }
    end
    ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ENV.fetch("DATABASE"), pool: 32)
    # Models know their columns. A transaction that reads them before it writes could not wait for the lock.
    [Order, Product, Shipment, Checkpoint].each { |model| model.new if model.table_exists? }
  end

  # Creates the tables.
  def self.create_tables
    ActiveRecord::Base.connection.execute("PRAGMA journal_mode = WAL") # reads do not wait for writes
    ActiveRecord::Schema.verbose = false
    ActiveRecord::Schema.define do
      create_table :orders do |t|
        t.string :number, null: false, index: { unique: true }
        t.string :product, null: false
        t.integer :quantity, null: false
        t.boolean :published, null: false, default: false, index: true
        t.datetime :created_at, null: false
      end
      create_table :products do |t|
        t.string :name, null: false, index: { unique: true }
        t.integer :stock, null: false
      end
      create_table :shipments do |t|
        t.string :order_number, null: false, index: true
        t.string :worker, null: false
        t.datetime :created_at, null: false
      end
      create_table :checkpoints do |t|
        t.string :name, null: false, index: { unique: true }
        t.string :offset
      end
    end
    PRODUCTS.each { |name| Product.create!(name: name, stock: STOCK) }
  end
end
