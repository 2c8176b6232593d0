# frozen_string_literal: true

$VERBOSE = nil # ActiveRecord and its database adapter have warnings.
require "active_record"

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: "guide.sqlite3")
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define { create_table(:shipments) { |table| table.integer :order_id } }

class Shipment < ActiveRecord::Base
end

def client
  @client ||= DurableStreams::Client.new(base_url: GuideProgram.url)
end

def stream
  client.stream("/orders", content_type: :json)
end

def shipped
  @shipped ||= []
end

# The third order ends the first consumer.
def ship(order)
  Process.kill("TERM", Process.pid) if (shipped << order).size == 3
end

def archived
  @archived ||= []
end

def rejected
  @rejected ||= []
end

# Fails for the first time. The guide rejects the other orders, which have no total.
def collect(_total)
  @collected = @collected.to_i + 1
  raise Timeout::Error if @collected == 1
end

GuideProgram.not_run("else :stop")

stream.create
stream.append({ id: 0, total: 10 })
2.times { |number| stream.append({ id: number + 1 }) }

GuideProgram.before("checkpoint = DurableStreams::Checkpoint::ActiveRecord") do
  CreateCheckpoints.new.migrate(:up)
  stream.close_stream
end

GuideProgram.finish do
  raise "not all were shipped and archived" unless [shipped.size, archived.size] == [3, 3]
  raise "not tried again" unless @collected == 2
  raise "not saved" unless File.read("orders.offset").strip == stream.head.offset
end
