# frozen_string_literal: true

module Chat
  # One conversation: a JSON stream of events, from which everybody who wants to know its state computes it.
  #
  #   { "type": "user", "id": "…", "text": "…" }    a message of the user
  #   { "type": "reply", "to": "…" }                a writer begins the reply to it, or takes it over
  #   { "type": "token", "to": "…", "text": "…" }   the next piece of the reply
  #   { "type": "done", "to": "…" }                 the reply is complete
  #   { "type": "cancelled", "to": "…" }            the user has stopped it
  class Conversation
    # A message of the user, and the reply to it. `state` is :writing, :done or :cancelled.
    Exchange = Struct.new(:id, :prompt, :tokens, :state)

    # @return [DurableStreams::Stream]
    attr_reader :stream

    # @param stream [DurableStreams::Stream]
    def initialize(stream)
      @stream = stream
    end

    # Reads the stream.
    # @return [Array<Exchange>]
    def exchanges
      @stream.read_json.each_with_object({}) { |event, exchanges| apply(event, exchanges) }.values
    end

    # @return [Exchange, nil] the exchange with this message
    def exchange(id)
      exchanges.find { |exchange| exchange.id == id }
    end

    # Adds a message of the user, if it is not there yet.
    # @return [Boolean] false while another reply is being written
    def add(id, text)
      known = exchanges
      return true if known.any? { |exchange| exchange.id == id }
      return false if known.any? { |exchange| exchange.state == :writing }

      @stream.append({ type: "user", id: id, text: text })
      true
    end

    # Stops a reply. Does nothing if it is complete.
    # @return [Boolean] whether it was being written
    def cancel(id)
      return false unless exchange(id)&.state == :writing

      claim(id, { type: "cancelled", to: id })
      true
    end

    # Appends an event as the only writer of a reply. The server accepts nothing more from the one before: its epoch is
    # over. So no token comes after `cancelled`, and after `reply` nobody but this writer adds tokens.
    # @return [Hash] options of a producer that goes on after the event
    def claim(id, event)
      producer_id = "reply-#{id}"
      DurableStreams::Producer.open(stream: @stream, producer_id: producer_id, auto_claim: true) do |producer|
        producer.append!(event)
        { stream: @stream, producer_id: producer_id, epoch: producer.epoch, next_seq: producer.seq + 1 }
      end
    end

    private

    def apply(event, exchanges)
      return exchanges[event["id"]] = Exchange.new(event["id"], event["text"], [], :writing) if event["type"] == "user"

      exchange = exchanges[event["to"]]
      return unless exchange&.state == :writing

      case event["type"]
      when "token" then exchange.tokens << event["text"]
      when "done", "cancelled" then exchange.state = event["type"].to_sym
      end
    end
  end
end
