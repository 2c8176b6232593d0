# frozen_string_literal: true

require "durable_streams"
require_relative "../support/json_outcome"
require_relative "../support/random_json"

# Compares the results of the extension and JSON.parse for random and damaged documents: alone, and as items of one
# text, where items that the fast path rejects are mixed with others. Run by `rake fuzz:json`.
class JSONFuzz
  include JSONOutcome

  # The number of documents that are read as items of one text.
  GROUP = 50

  # @param count [Integer] number of documents
  # @param seed [Integer]
  def initialize(count, seed)
    @count = count
    @texts = RandomJSON.new(seed)
    @differences = 0
    @refused = 0
  end

  # @return [Boolean] whether all results were equal
  def run
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    (1..@count).each_slice(GROUP) { |slice| compare_group(slice.map { @texts.document }) }
    seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
    puts "#{@count} documents, and as many damaged ones (#{@refused} of them refused): " \
         "#{@differences} differences from JSON.parse, in #{seconds.round} s"
    @differences.zero?
  end

  private

  def compare_group(documents)
    documents.each do |document|
      compare(document)
      @refused += 1 if compare(@texts.damaged(document)) == :refused
    end
    items = documents.reject { |document| outcome { json_parse(document) } == :refused }.join(",")
    check(items, outcome { json_parse("[#{items}]") }, outcome { DurableStreams::Native.parse_items(items) })
  end

  # @return [Object] the result of JSON.parse
  def compare(text)
    outcome { json_parse(text) }.tap do |expected|
      check(text, expected, outcome { DurableStreams::Native.parse_value(text) })
    end
  end

  def check(text, expected, actual)
    return if actual == expected

    @differences += 1
    warn "differs from JSON.parse for #{text.inspect}" if @differences <= 20
  end
end

exit JSONFuzz.new(Integer(ENV.fetch("DOCUMENTS", "100_000")), Integer(ENV.fetch("SEED", "20_251_121"))).run
