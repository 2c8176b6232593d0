# frozen_string_literal: true

module DurableStreams
  # Something that happened, as a subscriber gets it: see {DurableStreams.subscribe}.
  Event = Struct.new(:name, :time, :duration, :payload, :error, keyword_init: true) do
    # @!attribute [r] name
    #   @return [String] such as "request.durable_streams"
    # @!attribute [r] time
    #   @return [Time] when it began
    # @!attribute [r] duration
    #   @return [Float] how long it took, in seconds; 0.0 for events without a duration
    # @!attribute [r] payload
    #   @return [Hash{Symbol => Object}] frozen; {file:docs/observability.md} lists the keys of each event
    # @!attribute [r] error
    #   @return [Exception, nil] why it failed; nil if it did not

    # @param name [String]
    # @param time [Time]
    # @param duration [Float] in seconds
    # @param payload [Hash{Symbol => Object}]
    # @param error [Exception, nil]
    def initialize(name:, time:, duration:, payload:, error: nil)
      super(name: -name, time: time, duration: duration, payload: payload.frozen? ? payload : payload.dup.freeze,
            error: error)
      freeze
    end
  end

  # What {DurableStreams.subscribe} returns.
  class EventSubscription
    # @return [String, Regexp, nil] what the names of its events match; nil: all events
    attr_reader :name

    # @api private
    # @param name [String, Regexp, nil]
    # @param block [Proc]
    def initialize(name, block)
      @name = name
      @block = block
      @active = true
    end

    # Ends the subscription. Another thread that is delivering an event may still finish that. A second call does
    # nothing.
    # @return [nil]
    def unsubscribe
      @active = false
      Events.remove(self)
    end

    # @return [String]
    def inspect
      "#<#{self.class} #{@name.inspect}#{" (unsubscribed)" unless @active}>"
    end

    # @api private
    # @param name [String]
    # @return [Boolean] whether it is of events of this name
    def of?(name)
      @name.is_a?(Regexp) ? @name.match?(name) : [nil, name].include?(@name)
    end

    # Calls the subscriber. Its exceptions are logged: they must not change the result of an operation.
    # @api private
    # @param event [Event]
    # @return [nil]
    def call(event)
      @block.call(event) if @active
      nil
    rescue StandardError, ScriptError => e
      DurableStreams.report(:error, "durable_streams: a subscriber of #{event.name} raised #{e.class}: #{e.message}")
    end
  end

  # The subscriptions, and the delivery of events to them. Events come from the extension, on the thread whose call they
  # belong to, or on the callback thread; and from Ruby code of the library, by {publish} and {measure}.
  #
  # Only the main Ractor has subscriptions. Events of calls in other Ractors are dropped.
  # @api private
  module Events
    # All events.
    NAMES = %w[request retry append batch claim producer_failed read disconnect reconnect message claimed fenced]
            .map { |name| "#{name}.durable_streams".freeze }.freeze
    # The fiber-local variable that is set while a subscriber runs.
    DELIVERING = :__durable_streams_delivering
    private_constant :DELIVERING

    @lock = Mutex.new
    @subscriptions = [].freeze
    # The subscriptions by the names of events. Replaced as a whole, so that it can be read without the lock.
    @by_name = {}.freeze

    class << self
      # @see DurableStreams.subscribe
      def subscribe(name, &block)
        check(name, block)
        subscription = EventSubscription.new(name, block)
        change { |subscriptions| subscriptions + [subscription] }
        subscription
      end

      # @param subscription [EventSubscription]
      # @return [nil]
      def remove(subscription)
        change { |subscriptions| subscriptions - [subscription] }
      end

      # @param name [String]
      # @return [Boolean] whether there is a subscriber of these events; if not, do not build the payload
      def wanted?(name)
        main_ractor? && @by_name.key?(name)
      end

      # Delivers an event of this moment, or of one that has ended now, to its subscribers.
      # @param name [String] one of {NAMES}
      # @param time [Time] when it began
      # @param duration [Float] in seconds
      # @param payload [Hash{Symbol => Object}] without credentials
      # @param error [Exception, nil]
      # @return [nil]
      def publish(name, time, duration, payload, error = nil)
        return unless wanted?(name)

        publish_event(Event.new(name: name, time: time, duration: duration, payload: payload, error: error))
      end

      # Delivers an event. Calls that a subscriber makes deliver none, so that a subscriber may use the library without
      # calling itself. In a trap handler, where subscribers cannot lock, the event goes to the callback thread.
      # @param event [Event]
      # @return [nil]
      def publish_event(event)
        subscriptions = @by_name[event.name]
        return if subscriptions.nil? || Thread.current[DELIVERING]
        return Native.defer_event(event) if DurableStreams.in_trap_handler?

        begin
          Thread.current[DELIVERING] = true
          subscriptions.each { |subscription| subscription.call(event) }
        ensure
          Thread.current[DELIVERING] = nil
        end
        nil
      end

      # Runs the block, then publishes an event with its duration and, if it raised, the exception. If `throw` or
      # Thread#kill ends the block, the event has no exception.
      # @param name [String] one of {NAMES}
      # @param payload [Hash{Symbol => Object}] the block may add to it
      # @return [Object] the block's value
      def measure(name, payload)
        time = Time.now
        started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        error = nil
        yield
      rescue Exception => e # rubocop:disable Lint/RescueException -- always raised again
        error = e
        raise
      ensure
        publish(name, time, Process.clock_gettime(Process::CLOCK_MONOTONIC) - started, payload, error)
      end

      # Delivers an event on the callback thread, as {ProducerCallbacks#notify} calls a callback there.
      # @param pending [Array] is emptied when the delivery begins
      # @param details [Array] an {Event}, or the arguments of {publish}
      # @return [nil]
      def notify(pending, *details)
        Thread.handle_interrupt(Object => :immediate) do
          # As in ProducerCallbacks#notify.
          Native.check_interrupts
          pending.clear
          details.size == 1 ? publish_event(*details) : publish(*details)
        end
      end

      # Starts the callback thread if it does not run. A failure does not concern the caller's operation.
      # @return [nil]
      def keep_running
        CallbackThreads.keep_running(:notices) if main_ractor?
        nil
      rescue ThreadError, FiberError => e
        DurableStreams.report(:warn, "durable_streams: cannot start the thread that delivers events: #{e.message}")
      end

      private

      def check(name, block)
        raise Ractor::IsolationError, "subscribe works only in the main Ractor" unless main_ractor?
        raise ArgumentError, "subscribe requires a block" unless block
        return if name.nil? || name.is_a?(Regexp) || NAMES.include?(name)

        given = name.is_a?(String) ? name.inspect : name.class
        raise ArgumentError, "name must be a Regexp, nil or one of #{NAMES.join(", ")}; got #{given}"
      end

      # Replaces the subscriptions by the block's value.
      def change
        @lock.synchronize do
          @subscriptions = yield(@subscriptions).freeze
          @by_name = NAMES.to_h { |name| [name, @subscriptions.select { |one| one.of?(name) }] }
                          .reject { |_, subscriptions| subscriptions.empty? }.freeze
          Native.want_events(@by_name.keys)
        end
        nil
      end

      def main_ractor?
        Ractor.current == Ractor.main
      end
    end
  end
end
