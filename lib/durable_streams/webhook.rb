# frozen_string_literal: true

require_relative "subscription_events"
require_relative "webhook/event"
require_relative "webhook/keys"

module DurableStreams
  # A Rack application that receives the webhooks of subscriptions of type :webhook. It accepts requests that the
  # client's server has signed, and runs the block for them. All others get a 401, and the log has the reason. While the
  # server's keys cannot be fetched, no request can be checked: the response is a 503.
  #
  # When the block returns, the streams are acked, and the claim ends. If it raises, the response is a 500, and the
  # server tries again. The lease is prolonged while the block runs.
  #
  # Every batch is handled at least once. It is handled again if the block raised, or did not end: the server sends the
  # webhook again after an error or a lost response. A webhook that arrives again after its claim has ended does not run
  # the block: the lease is prolonged before that, which the server refuses then.
  #
  # @example config.ru
  #   client = DurableStreams::Client.new(base_url: "https://streams.example.com/v1/stream")
  #   map "/hooks" do
  #     run DurableStreams::Webhook.new(client) { |event|
  #       event.each_batch { |stream, batch| batch.items.each { |mail| deliver(mail) } }
  #     }
  #   end
  class Webhook
    # The largest request, in bytes. It lists all streams of the subscription, with some 200 bytes each.
    MAX_BODY = 16 * 1024 * 1024
    # A request is not accepted.
    Refused = Class.new(StandardError)
    # A request cannot be checked now.
    Unchecked = Class.new(StandardError)
    private_constant :MAX_BODY, :Refused, :Unchecked

    # @param client [Client] of the server that has the subscriptions
    # @param tolerance [Numeric] seconds that a signature may be old, or that the clocks may differ
    # @yieldparam event [Event]
    # @raise [ArgumentError] without a block, or if an argument is invalid
    def initialize(client, tolerance: 300, &block)
      raise ArgumentError, "Webhook.new requires a block, which receives an event" unless block

      @client = Options.instance("client", client, Client)
      @tolerance = Options.positive("tolerance", tolerance).to_f
      @block = block
      @keys = Keys.new { client.subscriptions.signing_keys }
    end

    # Responds to a request. Any number of threads may call it.
    # @param env [Hash] of Rack
    # @return [Array(Integer, Hash, Array<String>)] 200, 401, 500 or 503
    def call(env)
      handle(event_of(env))
      [200, { "content-type" => "application/json" }, ["{}"]]
    rescue Refused => e
      DurableStreams.report(:warn, "durable_streams: a webhook was refused: #{e.message}")
      response(401, "unauthorized\n")
    rescue Unchecked => e
      DurableStreams.report(:error, "durable_streams: a webhook cannot be checked: #{e.message}")
      response(503, "unavailable\n")
    rescue StandardError, ScriptError => e
      # Where reporters of errors look for it.
      env["rack.exception"] = e
      DurableStreams.report(:error, "durable_streams: a webhook failed: #{e.class}: #{e.message}" \
                                    "#{" (#{e.backtrace.first})" if e.backtrace&.first}")
      response(500, "failed\n")
    end

    # @return [String] without credentials
    def inspect
      "#<#{self.class} #{Redaction.url(@client.context.config.base_url).inspect} tolerance=#{@tolerance}>"
    end

    private

    def response(status, text)
      [status, { "content-type" => "text/plain" }, [text]]
    end

    def event_of(env)
      body = verified_body(env)
      begin
        Event.new(@client, JSON.parse(body))
      rescue JSON::ParserError, ArgumentError, KeyError, NoMethodError, TypeError
        raise Refused, "it is not about a wake"
      end
    end

    def verified_body(env)
      signature = env["HTTP_WEBHOOK_SIGNATURE"]
      raise Refused, "it is no POST request" unless env["REQUEST_METHOD"] == "POST"
      raise Refused, "it has no signature" if signature.nil?

      body = read(env)
      reason, may_have_new_key = check(signature, body, @keys.json)
      reason, = check(signature, body, @keys.json(unknown: true)) if may_have_new_key
      raise Refused, reason if reason

      body
    rescue DurableStreamError => e
      raise Unchecked, "the server's keys cannot be fetched: #{e.message}"
    end

    def check(signature, body, keys)
      Native.check_webhook(signature, body, keys, @tolerance)
    end

    def read(env)
      input = env["rack.input"]
      raise Refused, "it has more than #{MAX_BODY} bytes" if env["CONTENT_LENGTH"].to_i > MAX_BODY

      input.rewind if input.respond_to?(:rewind) # Another middleware may have read it.
      body = input ? input.read(MAX_BODY + 1).to_s : ""
      raise Refused, "it has more than #{MAX_BODY} bytes" if body.bytesize > MAX_BODY

      body
    end

    def handle(event)
      event.prolonging do
        SubscriptionEvents.claimed(event.subscription_id, event.generation)
        @block.call(event)
        event.done
      end
    rescue FencedError => e
      raise unless event.lost? # It is about another claim.

      SubscriptionEvents.fenced(event.subscription_id, event.generation, e)
      # Another webhook has what this one did not ack. An error status would make the server repeat that one.
      DurableStreams.report(:warn, "durable_streams: #{event.inspect} came to its end too late: #{e.message}")
    end
  end
end
