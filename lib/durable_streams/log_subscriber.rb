# frozen_string_literal: true

require "active_support"
require "active_support/log_subscriber"

module DurableStreams
  # Writes a line for each event to {DurableStreams.logger}, in a form for people. To write none:
  # `DurableStreams::LogSubscriber.detach_from :durable_streams`. Loaded by `durable_streams/active_support`.
  #
  # The library itself logs when an outage of a live read or a producer begins (warn), and when it is over (info). So
  # `disconnect`, `reconnect` and the later retries are debug lines here.
  class LogSubscriber < ::ActiveSupport::LogSubscriber
    # @return [Logger, nil]
    def logger
      logger = DurableStreams.logger
      logger if logger.respond_to?(:debug) && logger.respond_to?(:level)
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def request(event)
      write(:debug, event, event.payload[:method]) do |status:, attempt:, bytes_sent:, bytes_received:, **|
        [status || "no response", ("attempt #{attempt}" if attempt > 1), "#{bytes_sent} B sent",
         "#{bytes_received} B received"]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def retry(event)
      level = event.payload[:attempt] == 1 ? :warn : :debug
      write(level, event, event.payload[:operation]) do |attempt:, delay:, reason:, **|
        ["attempt #{attempt} failed: #{reason}", "again in #{delay.round(2)} s"]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def append(event)
      write(failed?(event) ? :warn : :info, event) do |bytes:, next_offset:, together:, **|
        [("#{bytes} B" if bytes), ("next offset #{next_offset}" if next_offset),
         ("#{count(together, "append")} in the request" if together && together > 1)]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def batch(event)
      write(failed?(event) ? :warn : :info, event) do |messages:, bytes:, epoch:, seq:, attempts:, **|
        [count(messages, "message"), "#{bytes} B", *producer(event), "epoch #{epoch}", "number #{seq}",
         (count(attempts, "attempt") if attempts > 1)]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def claim(event)
      write(:info, event) { |from:, to:, **| [*producer(event), "epoch #{to} after #{from}"] }
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def producer_failed(event)
      write(:error, event) { |undelivered:, **| [*producer(event), "#{count(undelivered, "message")} undelivered"] }
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def read(event)
      write(:debug, event) do |next_offset:, mode:, items: nil, bytes: nil, **|
        [items ? count(items, "item") : "#{bytes} B", mode, "next offset #{next_offset}"]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def disconnect(event)
      write(:debug, event) { |mode:, offset:, reason:, **| [mode, "at offset #{offset}", reason] }
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def reconnect(event)
      write(:debug, event) do |mode:, offset:, attempts:, **|
        [mode, "at offset #{offset}", "after #{count(attempts, "failed attempt")}"]
      end
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def message(event)
      write_work(failed?(event) ? :warn : :debug, event)
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def claimed(event)
      write_work(:info, event)
    end

    # @param event [ActiveSupport::Notifications::Event]
    # @return [void]
    def fenced(event)
      write_work(:warn, event)
    end

    private

    # Writes what happened, how long it took, where, how much it was, and why it failed. The block gets the payload.
    def write(level, event, detail = nil)
      send(level) do
        took = " (#{event.duration.round(1)} ms)" if event.duration.positive?
        what = "Durable Streams #{event.name[/\w+/].tr("_", " ")}#{took}"
        where = [detail, event.payload[:url]].compact.join(" ")
        parts = yield(**event.payload).compact
        parts << "failed: #{event.payload[:exception].join(": ")}" if failed?(event)
        "#{[what, where].reject(&:empty?).join(" ")}: #{parts.join(", ")}"
      end
    end

    # For events of workers, which concern a subscription.
    def write_work(level, event)
      write(level, event) do |**payload|
        payload.slice(:subscription, :stream, :offset, :generation).compact.map { |name, value| "#{name} #{value}" }
      end
    end

    def failed?(event)
      event.payload.key?(:exception)
    end

    def producer(event)
      "producer #{event.payload[:producer_id]}"
    end

    def count(number, noun)
      "#{number} #{noun}#{"s" unless number == 1}"
    end
  end
end
