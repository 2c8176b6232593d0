# frozen_string_literal: true

require "durable_streams"
require_relative "clock"

# Threads that append to a stream until they are stopped, one message after another, no two of them equal. They record
# how each append ended. Afterwards #lies compares this with what the stream contains.
class AppendThreads
  include Clock

  # How one append ended, and how many seconds it took. `error` is nil if it was reported as stored.
  Outcome = Struct.new(:kind, :message, :error, :seconds, keyword_init: true) do
    # @return [Range] how many times the stream may contain the message
    def honest_counts
      return 1..1 unless error

      error.outcome_unknown? ? 0..1 : 0..0
    end

    # @return [Symbol]
    def report
      return :stored unless error

      error.outcome_unknown? ? :unknown : :not_stored
    end
  end

  # @param handles [Hash{Symbol => Array<DurableStreams::Stream>}] by kind. One handle for each thread; threads may
  #   share a handle.
  def initialize(handles)
    @handles = handles
    @stopped = false
  end

  # @return [self]
  def start
    @threads = @handles.flat_map do |kind, handles|
      handles.each_with_index.map { |handle, number| Thread.new { append_until_stopped(kind, handle, number) } }
    end
    self
  end

  # Stops the threads and waits for their last appends. May be called twice.
  # @param limit [Numeric] seconds to wait at most
  # @return [self]
  # @raise [RuntimeError] if a thread does not end
  def stop(limit)
    @stopped = true
    @outcomes = @threads.flat_map { |thread| (thread.join(limit) || raise("an append does not end")).value }
    self
  end

  # @return [Hash{Symbol => Hash{Symbol => Integer}}] by kind: how many appends were reported as stored, unknown and
  #   not stored
  def counts
    @outcomes.group_by(&:kind).transform_values { |outcomes| outcomes.map(&:report).tally }
  end

  # @return [Hash{Symbol => Float}] by kind: how many seconds the longest append took
  def longest
    @outcomes.group_by(&:kind).transform_values { |outcomes| outcomes.map(&:seconds).max.round(1) }
  end

  # @param kind [Symbol]
  # @return [Array<DurableStreams::Error>] what the appends of this kind raised
  def errors(kind)
    @outcomes.select { |outcome| outcome.kind == kind }.filter_map(&:error)
  end

  # @param stored [Array] all messages of the stream, read after #stop
  # @return [Array<String>] every outcome that the stream contradicts, and messages that nobody appended
  def lies(stored)
    counts = stored.tally
    lies = @outcomes.filter_map do |outcome|
      count = counts.delete(outcome.message) || 0
      next if outcome.honest_counts.cover?(count)

      "#{outcome.message} is stored #{count} times, but was reported as #{outcome.report}: #{outcome.error.inspect}"
    end
    lies + counts.map { |message, count| "#{message} is stored #{count} times, and nobody appended it" }
  end

  private

  def append_until_stopped(kind, handle, number)
    Thread.current.report_on_exception = false # raised again by #stop
    outcomes = []
    until @stopped
      message = [kind.to_s, number, outcomes.size]
      error = nil
      seconds = timed { error = error_of { handle.append(message) } }
      outcomes << Outcome.new(kind: kind, message: message, error: error, seconds: seconds)
    end
    outcomes
  end

  # @return [DurableStreams::Error, nil]
  def error_of
    yield
    nil
  rescue DurableStreams::Error => e
    e
  end
end
