#!/usr/bin/env ruby
# frozen_string_literal: true

# A worker that forks a child for each job, as Resque does, and runs several at a time. Jobs come from one stream, and
# results go to another. The client, the streams and the reader are created before any fork; children use them too.
#
#   STREAMS_URL=http://localhost:4437 ruby examples/forking_worker.rb
#
# INT and TERM end it after the running jobs.
require "durable_streams"

CONCURRENCY = Integer(ENV.fetch("CONCURRENCY", "3"))
client = DurableStreams::Client.new(base_url: ENV.fetch("STREAMS_URL"))
jobs = client.create("/examples/jobs", content_type: "application/json")
results = client.create("/examples/results", content_type: "application/json")

def perform(job)
  { "job" => job["id"], "sum" => job["numbers"].sum, "worker" => Process.pid }
end

tail = jobs.read_json(live: :long_poll)
%w[INT TERM].each { |signal| trap(signal) { tail.close } }
$stdout.puts("waiting for jobs")
$stdout.flush

running = []
tail.each do |job|
  running << fork { results.append(perform(job)) }
  running.delete(Process.wait) if running.size >= CONCURRENCY
end
running.each { |pid| Process.wait(pid) }
