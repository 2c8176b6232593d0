# frozen_string_literal: true

require "net/http"
require "rbconfig"

ENV["STREAMS_URL"] = GuideProgram.url
Warning[:experimental] = false # Ractors are.

# Starts a program, and yields a method that waits for a line. Ends it by TERM.
def serve(*command)
  IO.popen(command, err: %i[child out]) do |program|
    yield ->(pattern) { program.each_line.find { |line| pattern.match(line) } or raise "it ended" }
    Process.kill("TERM", program.pid)
    program.read
  end
end

def client
  @client ||= DurableStreams::Client.new(base_url: GuideProgram.url)
end

# TracePoints see one Ractor. The next line checks the value.
GuideProgram.not_run("DurableStreams::Client.open { |own| own.stream(url).read_all.size }")

# Each worker prints the prices that it follows.
File.write("prices.rb", <<~RUBY)
  module Prices
    def self.update(price) = $stderr.puts("price: \#{price}")
  end
RUBY

GuideProgram.finish do
  orders = client.create("/orders", content_type: :json)
  client.create("/prices", content_type: :json) << 7
  serve(RbConfig.ruby, "-r./prices.rb", Gem.bin_path("puma", "puma"), "-b", "tcp://127.0.0.1:0") do |wait_for|
    url = wait_for.call(%r{Listening on http://127})[%r{http://\S+}]
    2.times { wait_for.call(/price: 7/) }
    Net::HTTP.post(URI(url), '{"id": 1}')
  end
  raise "not appended" unless orders.read_all == [{ "id" => 1 }]

  load "jobs.rb"
  PaidJob.new.perform(1)
  raise "not appended by the job" unless orders.read_all.last == { "type" => "order.paid", "id" => 1 }

  serve(RbConfig.ruby, "ship_orders.rb") { |wait_for| wait_for.call(/shipped.*paid/) }
  raise "not saved" unless File.read("ship_orders.offset").strip == orders.head.next_offset
end
