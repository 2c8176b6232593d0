# frozen_string_literal: true

module Conformance
  # Makes objects from values that may be impossible, and reports what the gem says to them. Nothing is checked here.
  class ValidateCommand
    COMMANDS = { "validate" => :validate }.freeze

    # The suite's names, the gem's, and what one of the suite's units is in the gem's.
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
      else raise NotImplementedCommand, "no such target to validate: #{target["target"]}"
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

    # Has the gem's message name the options as the suite does.
    # @param names [Hash{String => Symbol}]
    def translated(names)
      yield
    rescue ArgumentError => e
      raise ArgumentError, names.reduce(e.message) { |message, (theirs, ours)| message.gsub(/\b#{ours}\b/, theirs) }
    end
  end
end
