# frozen_string_literal: true

require_relative "../clock"

class FaultServer
  # Records events in order, and waits for events that have not happened yet. Events are Hashes with a `:type`.
  class Journal
    include Clock

    def initialize
      @mutex = Mutex.new
      @changed = ConditionVariable.new
      @events = []
      @counts = Hash.new(0)
    end

    # Adds an event with its time in seconds of CLOCK_MONOTONIC, which all processes of a machine share.
    def record(type, **fields)
      event = { type: type, time: now, **fields }
      @mutex.synchronize do
        @events << event
        @changed.broadcast
      end
      event
    end

    # The next number of a kind, from 1.
    def number(kind)
      @mutex.synchronize { @counts[kind] += 1 }
    end

    # The events whose fields match all of the filter's, compared by `===`.
    def select(filter)
      @mutex.synchronize { matching(filter) }
    end

    # Waits until `count` events match. Returns the last of them, or nil after `timeout` seconds.
    def wait(filter, count, timeout)
      deadline = now + timeout
      @mutex.synchronize do
        loop do
          event = matching(filter)[count - 1]
          return event if event

          left = deadline - now
          return nil unless left.positive?

          @changed.wait(@mutex, left)
        end
      end
    end

    private

    def matching(filter)
      @events.select { |event| filter.all? { |field, value| value === event[field] } } # rubocop:disable Style/CaseEquality
    end
  end
end
