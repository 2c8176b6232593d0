# frozen_string_literal: true

$VERBOSE = nil # ActiveRecord and its database adapter have warnings.
require "active_record"
require "rack"
require "uri"
require File.join(File.dirname(__dir__, 2), "support/puma_server")

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: "guide.sqlite3")
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table(:progresses) { |table| table.string(:path, index: { unique: true }) && table.string(:offset) }
  create_table(:shipments) { |table| table.integer(:order_id, index: { unique: true }) }
end

# One stream has two orders, one after the other.
class Shipment < ActiveRecord::Base
  after_commit do
    append("orders/3", { id: 3 }) if Shipment.count == 2
    Process.kill("TERM", Process.pid) if Shipment.count == 3
  end
end

ENV["STREAMS_URL"] = URI.join(GuideProgram.url, "/v1/stream").to_s

# Other than the guide's, it is there before its first block.
def streams
  @streams ||= DurableStreams::Client.new(base_url: ENV.fetch("STREAMS_URL"))
end

def append(path, *messages)
  stream = streams.create(path, content_type: :json)
  messages.each { |message| stream << message }
end

def shipped
  @shipped ||= Queue.new
end

def ship(path, order)
  shipped << [path, order]
  Process.kill("TERM", Process.pid) if shipped.size == 2
end

# config.ru calls it on another object.
DELIVERED = Queue.new

def deliver(path, mail)
  DELIVERED << [path, mail]
end

def hooks
  @hooks ||= PumaServer.new(Rack::Builder.parse_file("config.ru").then { |app, _| app })
end

def bill(order)
  raise ArgumentError, "no total" unless order["total"]

  raise IOError, "try again" if (@billed = @billed.to_i + 1) == 1

  Process.kill("TERM", Process.pid)
end

GuideProgram.before("worker = DurableStreams::Worker.new(client, [\"orders\"]") do
  append("orders/1", { id: 1 })
  append("orders/2", { id: 2 })
end
GuideProgram.before("class Progress") do
  append("orders/1", { id: 1 })
  append("orders/3", { id: 2 })
end
GuideProgram.before("failures = ") { append("orders/4", { total: nil }, { total: 1 }) }
GuideProgram.before("client.subscriptions.create(\"mail\"") do
  Object.const_set(:HOOKS_URL, hooks.url("/hooks").sub("127.0.0.1", "localhost"))
end
GuideProgram.before("claim = ") { append("orders/5", { id: 5 }) }

GuideProgram.finish do
  raise "not shipped: #{shipped.size}" unless shipped.size == 3
  raise "not in the database" unless Shipment.pluck(:order_id).sort == [1, 2, 3] && Progress.count == 2

  aside = streams.stream("failures").read_all.map { |failure| failure["error"] }
  raise "not put aside: #{aside}" unless aside == ["no total"] * 2

  append("mail/out", { to: "you" })
  raise "not delivered" unless DELIVERED.pop == ["mail/out", { "to" => "you" }]

  tail = streams.stream("mail/out").head.next_offset
  Thread.pass until streams.subscriptions.find("mail").streams.first.acked_offset == tail
  hooks.stop
end
