# frozen_string_literal: true

require "durable_streams"
require_relative "state/event"
require_relative "state/change"
require_relative "state/invalid_event_error"
require_relative "state/materialized"
require_relative "state/writer"

module DurableStreams
  # State as a JSON stream of changes: the Durable Streams State Protocol. {Writer} appends changes, {Materialized}
  # applies them, {follow} keeps a state current. `require "durable_streams"` does not load it.
  #
  # A change stores or removes the value of one key of one type. A control marks where a snapshot begins or ends, or
  # resets the state. JavaScript programs read and write the same events with the package `@durable-streams/state`.
  #
  # @example
  #   require "durable_streams/state"
  #
  #   orders = DurableStreams::State::Writer.new(stream)
  #   orders.insert("order", "42", { total: 10 })
  #
  #   DurableStreams::State.follow(stream) do |state, batch|
  #     p state["order", "42"] if batch.up_to_date?
  #   end
  module State
    # Reads a stream and applies its events, batch by batch. Ends as a reader does: at the end of a closed stream, with
    # `live: :off` once up to date, and when the block breaks.
    #
    # To continue, pass the same state and the `offset` of the last batch that was yielded. A state that another process
    # has saved comes back by {Materialized#initialize}'s `entries:`.
    # @param stream [Stream] a JSON stream
    # @param state [Materialized] the state to apply the events to
    # @param offset [String, nil] where the state stands; see {Stream#read}
    # @param live [Symbol, Boolean, nil] see {Stream#read}
    # @param retry_policy [RetryPolicy, nil] see {Stream#read}
    # @yieldparam state [Materialized] with the whole batch applied
    # @yieldparam batch [JsonBatch] also an empty one, which says that the state is up to date
    # @return [Materialized] the state
    # @raise [ArgumentError] if an argument is invalid
    # @raise [InvalidEventError] if the state is strict, and an event is invalid
    # @raise [ParseError] if the stream does not consist of JSON
    def self.follow(stream, state: Materialized.new, offset: "-1", live: :auto, retry_policy: nil)
      Options.instance("stream", stream, Stream)
      Options.instance("state", state, Materialized)
      stream.read_json(offset: offset, live: live, retry_policy: retry_policy) do |reader|
        from = reader.next_offset
        reader.each_batch do |batch|
          state.apply_batch(batch.items, from)
          from = batch.next_offset
          yield state, batch if block_given?
        end
      end
      state
    end
  end
end
