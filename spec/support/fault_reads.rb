# frozen_string_literal: true

require_relative "fault_helpers"

# A scripted stream of the numbers 1, 2 and 3, and every way to read it.
# Included in example groups with `:faults`.
module FaultReads
  MODES = %i[off long_poll sse auto].freeze

  # A way to read the stream, and the result of reading the whole stream.
  Shape = Struct.new(:name, :read, :whole, keyword_init: true)

  SHAPES = [
    Shape.new(name: "batches", whole: [[1, 2], [3]],
              read: ->(stream, live) { stream.read(live: live).map(&:items).reject(&:empty?) }),
    Shape.new(name: "items", whole: [1, 2, 3],
              read: ->(stream, live) { stream.read_json(live: live).each.to_a }),
    Shape.new(name: "bytes", whole: "[1,2][3]",
              read: ->(stream, live) { stream.read_bytes(live: live).map(&:data).join })
  ].freeze

  # The query parameters of the first and the second request, by live mode.
  FIRST = Hash.new({ "offset" => "-1", "live" => nil }).merge(sse: { "offset" => "-1", "live" => "sse" }).freeze
  SECOND = {
    off: { "offset" => "2", "live" => nil }, long_poll: { "offset" => "2", "live" => "long-poll" },
    sse: { "offset" => "2", "live" => "sse" }, auto: { "offset" => "2", "live" => "sse" }
  }.freeze

  # Scripts the stream: 1 and 2 in the first response, 3 and the end of the stream in the second.
  def serve_numbers
    faults.on("GET", nil, query: { "offset" => "-1", "live" => nil }) do |reply|
      reply.read("[1,2]", next_offset: "2", cursor: "c2")
    end
    faults.on("GET", nil, query: { "offset" => "2" }) do |reply|
      reply.read("[3]", next_offset: "3", closed: true)
    end
    faults.on("GET", nil, query: { "offset" => "-1", "live" => "sse" }) do |reply|
      reply.sse.data("[1,2]").control("2", cursor: "c2").finish
    end
    faults.on("GET", nil, query: { "offset" => "2", "live" => "sse" }) do |reply|
      reply.sse.data("[3]").control("3", closed: true).finish
    end
  end

  # Like serve_numbers. With live: :off the first response is not up to date: the read would otherwise end there.
  def serve_numbers_for(mode)
    serve_numbers
    return unless mode == :off

    faults.on("GET", nil, query: { "offset" => "-1", "live" => nil }) do |reply|
      reply.read("[1,2]", next_offset: "2", up_to_date: false)
    end
  end

  # Headers of a response to a read.
  def read_headers(next_offset, **more)
    { "content-type" => "application/json", "stream-next-offset" => next_offset, "stream-up-to-date" => "true", **more }
  end
end

RSpec.configure { |config| config.include FaultReads, :faults }
