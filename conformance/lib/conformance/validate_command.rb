# frozen_string_literal: true

module Conformance
  # Creates objects from values that may be invalid, and reports the gem's errors. Does not check values itself.
  class ValidateCommand
    COMMANDS = { "validate" => :validate }.freeze

    # The gem's name for each of the suite's, and the suite's unit in the gem's.
    RETRY_OPTIONS = { "maxRetries" => [:max_retries, 1], "initialDelayMs" => [:initial_delay, 0.001],
                      "maxDelayMs" => [:max_delay, 0.001], "multiplier" => [:multiplier, 1] }.freeze
    PRODUCER_OPTIONS = { "producerId" => :producer_id, "epoch" => :epoch, "maxBatchBytes" => :max_batch_bytes,
                         "maxBatchItems" => :max_batch_items }.freeze

    # @param session [Session]
    def initialize(session)
      @session = session
    end

    def validate(command)
      target = command.fetch("target")
      case target["target"]
      when "retry-options" then retry_options(target)
      when "idempotent-producer" then idempotent_producer(target)
      else raise NotImplementedCommand, "#{target["target"]} is an unknown target to validate"
      end
      {}
    end

    private

    def retry_options(target)
      given = RETRY_OPTIONS.select { |theirs, _| target.key?(theirs) }
      translated(given.transform_values(&:first)) do
        DurableStreams::RetryPolicy.new(**given.to_h { |theirs, (ours, unit)| [ours, target[theirs] * unit] })
      end
    end

    def idempotent_producer(target)
      given = PRODUCER_OPTIONS.select { |theirs, _| target.key?(theirs) }
      stream = @session.client.stream("/never-written", content_type: :bytes)
      translated(given) do
        DurableStreams::Producer.new(stream: stream, **given.to_h { |theirs, ours| [ours, target[theirs]] }).close
      end
    end

    # Replaces the gem's option names in an error's message by the suite's.
    # @param names [Hash{String => Symbol}]
    def translated(names)
      yield
    rescue ArgumentError => e
      raise ArgumentError, names.reduce(e.message) { |message, (theirs, ours)| message.gsub(/\b#{ours}\b/, theirs) }
    end
  end
end
