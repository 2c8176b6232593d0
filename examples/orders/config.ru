# frozen_string_literal: true

# The web application: the page, its events, and POST /orders. The x-worker header of a response names the process.
require "json"
require_relative "database"

Shop.connect

# Takes {"number", "product", "quantity"}. The same number again is the same order, so that a page that got no response
# can send it again.
place_order = lambda do |env|
  order = Shop::Order.new(JSON.parse(env["rack.input"].read).slice("number", "product", "quantity"))
  next [422, order.errors.to_hash] unless order.valid?

  order.save!
  [201, {}]
rescue ActiveRecord::RecordNotUnique
  [200, {}]
rescue JSON::ParserError
  [400, {}]
end

files = { "/" => "index.html", "/page.js" => "page.js", "/page.css" => "page.css" }
use Rack::Static, urls: files, root: File.join(__dir__, "public")

map "/events" do
  run(DurableStreams::EventStream.app { Shop.state })
end

map "/orders" do
  run(lambda do |env|
    status, body = ActiveRecord::Base.connection_pool.with_connection { place_order.call(env) }
    [status, { "content-type" => "application/json", "x-worker" => Process.pid.to_s }, [JSON.generate(body)]]
  end)
end
