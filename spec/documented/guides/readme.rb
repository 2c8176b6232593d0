# frozen_string_literal: true

require "action_controller/railtie"

# A Rails application. Its routes are a block of the README.
class Shop < Rails::Application
  config.root = Dir.pwd
  config.eager_load = false
  config.hosts = nil
  config.logger = Logger.new(nil)
  config.secret_key_base = "secret"
end

def shipped
  @shipped ||= []
end

# The last order ends the consumer.
def ship(order)
  shipped << order["id"]
  Process.kill("TERM", Process.pid) if order["id"] == 4
end

GuideProgram.finish do
  orders = DurableStreams.stream("#{GuideProgram.url}/orders")
  raise "not shipped" unless shipped == [1, 2, 3, 4]
  raise "not produced" unless orders.read_all.size == 1000

  # The response ends because the stream is closed.
  orders.close_stream
  DurableStreams.configure { |config| config.base_url = GuideProgram.url }
  Shop.initialize!
  events = Rack::MockRequest.new(Shop).get("/orders/events").body
  raise events unless events.scan(/^data: \{/).size == 1000
end
