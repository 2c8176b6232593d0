# frozen_string_literal: true

module Chat
  # Writes a reply into its conversation's stream, in a thread. It can be interrupted at any moment: by the end of the
  # web server, by a restart of the Durable Streams server, by the user. The stream says what was written, and another
  # writer goes on from there.
  class Writer
    # Seconds before another try, after a failure.
    PAUSE = 0.5

    # @param conversations [Conversations]
    # @param model [Model]
    def initialize(conversations, model)
      @conversations = conversations
      @model = model
    end

    # Goes on with the replies that an earlier web server has left. Waits for the Durable Streams server.
    # @return [Thread]
    def resume
      Thread.new do
        left = until_successful { @conversations.list.select { |entry| entry["state"] == "writing" } }
        left.each do |entry|
          exchange = until_successful { @conversations.find(entry["id"]).exchanges.last }
          exchange ? write(entry["id"], exchange.id) : @conversations.note(entry["id"], state: "done")
        end
      end
    end

    # Writes the reply to a message, or the rest of it.
    # @return [Thread]
    def write(conversation_id, id)
      Thread.new do
        state = until_successful { write_rest(@conversations.find(conversation_id), id) }
        until_successful { @conversations.note(conversation_id, state: state) } if state
      end
    end

    private

    # A producer waits for a server that is down, two minutes by default. Some servers forget producers when they start
    # again, which ends the producer (SequenceGapError). In each case the stream says where to go on.
    def until_successful
      yield
    rescue DurableStreams::StaleEpochError, DurableStreams::StreamNotFoundError
      nil # The user has stopped the reply, another web server writes it, or the conversation was deleted.
    rescue DurableStreams::DurableStreamError => e
      warn "chat: #{e.message}. Trying again"
      sleep PAUSE
      retry
    end

    # @return [Symbol] :done or :cancelled
    def write_rest(conversation, id)
      exchange = conversation.exchange(id)
      return exchange.state unless exchange.state == :writing

      options = conversation.claim(id, { type: "reply", to: id })
      # Only now it is final what others have written.
      exchange = conversation.exchange(id)
      return exchange.state unless exchange.state == :writing

      DurableStreams::Producer.open(**options) do |producer|
        @model.reply(exchange.prompt, id).drop(exchange.tokens.size).each do |token|
          sleep token.pause
          producer << { type: "token", to: id, text: token.text }
        end
        producer << { type: "done", to: id }
      end
      :done
    end
  end
end
