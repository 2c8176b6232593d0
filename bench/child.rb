# frozen_string_literal: true

# Bench::Children starts this program. It measures one line with one client, whose folder is in the load path, and
# prints the figures to standard output as one line of JSON.
require "json"
require_relative "lines"

id, quick, params = ARGV
params = JSON.parse(params)
line = Bench::Line.all.find { |candidate| candidate.id == id }.new(quick: quick == "true")
begin
  require "durable_streams" unless params["client"] == "floor" || params["bare"]
  figures = params["client"] == "floor" ? line.floor_work(params) : line.work(params)
  puts JSON.generate(figures)
rescue Bench::Line::Unequal => e
  puts JSON.generate(unequal: e.message)
end
