# frozen_string_literal: true

require "durable_streams"
require "json"
require_relative "conversations"
require_relative "model"
require_relative "writer"

module Chat
  # The web application. All state is in streams; this only knows where they are.
  class App
    # Of conversations and messages. The page chooses it.
    ID = /\b[0-9a-f]{32}\b/
    LONGEST_PROMPT = 4_000
    LONGEST_BODY = 64 * 1024
    PAGE = File.expand_path("../public/index.html", __dir__)
    # Seconds between two comments of an event stream: how soon it is noticed that a browser has left.
    HEARTBEAT = 5

    # @param client [DurableStreams::Client]
    # @param model [Model]
    def initialize(client, model)
      @conversations = Conversations.new(client)
      @writer = Writer.new(@conversations, model)
      @events = DurableStreams::EventStream.app(heartbeat: HEARTBEAT) do |env|
        @conversations.find(env["PATH_INFO"][ID]).stream
      end
      @writer.resume
    end

    # @param env [Hash] the Rack environment
    # @return [Array] the Rack response
    def call(env)
      id = env["PATH_INFO"][ID]
      case [env["REQUEST_METHOD"], env["PATH_INFO"]].join(" ")
      when "GET /", "GET /c/#{id}" then page
      when "GET /conversations" then json(200, @conversations.list)
      when "GET /conversations/#{id}/events" then @events.call(env)
      when "POST /conversations/#{id}/messages" then post(id, params(env))
      when "POST /conversations/#{id}/cancel" then cancel(id, params(env))
      else json(404, error: "There is nothing here.")
      end
    rescue DurableStreams::DurableStreamError => e
      warn "chat: #{e.message}"
      json(503, error: "The streams server is unavailable. Please try again in a moment.")
    end

    private

    def page
      headers = { "content-type" => "text/html; charset=utf-8", "cache-control" => "no-cache",
                  "content-security-policy" => "default-src 'self'; img-src data:" }
      [200, headers, [File.read(PAGE)]]
    end

    # The page sends the same request again if it got no response: each step may be repeated. If the web server ends
    # between two of them, the next one finds the conversation in the list of those that are being written.
    def post(conversation_id, params)
      id, text = params.values_at("id", "text").map { |value| value.to_s.strip }
      return json(422, error: "A message needs an id.") unless id == id[ID]

      unless text.size.between?(1, LONGEST_PROMPT)
        return json(422, error: "A message has from 1 to #{LONGEST_PROMPT} characters.")
      end

      conversation = @conversations.create(conversation_id, text)
      @conversations.note(conversation_id, state: "writing")
      return json(409, error: "Another reply is being written.") unless conversation.add(id, text)

      @writer.write(conversation_id, id)
      json(202, {})
    end

    def cancel(conversation_id, params)
      cancelled = @conversations.find(conversation_id).cancel(params["id"])
      @conversations.note(conversation_id, state: "cancelled") if cancelled
      json(202, {})
    end

    # Only JSON: a form of another site cannot send it.
    def params(env)
      return {} unless env["CONTENT_TYPE"].to_s.start_with?("application/json")

      params = JSON.parse(env["rack.input"].read(LONGEST_BODY).to_s)
      params.is_a?(Hash) ? params : {}
    rescue JSON::ParserError
      {}
    end

    def json(status, body)
      [status, { "content-type" => "application/json", "cache-control" => "no-store" }, [JSON.generate(body)]]
    end
  end
end
