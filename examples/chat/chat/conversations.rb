# frozen_string_literal: true

require_relative "conversation"

module Chat
  # All conversations: a stream of what was last known of each, `{ "id", "title", "state", "at" }`. The last one counts.
  class Conversations
    INDEX = "/chat/conversations"
    TITLE_LENGTH = 60

    # @param client [DurableStreams::Client]
    def initialize(client)
      @client = client
      @index = client.stream(INDEX, content_type: :json)
    end

    # @return [Array<Hash>] the latest first
    def list
      entries = @index.read_json.each_with_object({}) { |entry, all| (all[entry["id"]] ||= {}).merge!(entry) }
      entries.values.sort_by { |entry| entry["at"] }.reverse
    rescue DurableStreams::StreamNotFoundError
      []
    end

    # @param id [String]
    # @return [Conversation] sends nothing
    def find(id)
      Conversation.new(@client.stream("#{INDEX}/#{id}", content_type: :json))
    end

    # Creates a conversation, if it is not there, and lists it under its first prompt.
    # @return [Conversation]
    def create(id, prompt)
      conversation = find(id)
      return conversation if conversation.stream.exists?

      conversation.stream.create
      @index.create
      title = prompt.split.join(" ")
      note(id, title: title.size > TITLE_LENGTH ? "#{title[0, TITLE_LENGTH]}…" : title)
      conversation
    end

    # Notes what has become of a conversation.
    # @return [void]
    def note(id, **event)
      @index.append({ id: id, at: Time.now.to_f, **event })
    end
  end
end
