# frozen_string_literal: true

require "uri"

module DurableStreams
  class EventStream
    # The Rack application of {EventStream.app}.
    # @api private
    class App
      # @param heartbeat [Numeric]
      # @param block [Proc] env -> the stream
      def initialize(heartbeat, block)
        @heartbeat = heartbeat
        @block = block
      end

      # @param env [Hash] the Rack environment
      # @return [Array(Integer, Hash, Object)] the Rack response
      def call(env)
        # Without a body, which a response to HEAD must not have.
        return [405, { "allow" => "GET", "cache-control" => "no-store" }, []] unless env["REQUEST_METHOD"] == "GET"

        stream = @block.call(env) or return refuse(404)
        Options.instance("the block's value", stream, Stream, "a Stream, or nil for 404")
        events = build(stream, env) or return refuse(400)
        return [204, {}, []] if events.ended?

        events.open
        [200, HEADERS.dup, body(events)]
      rescue DurableStreamError => e
        EventStream.report(e)
        refuse(EventStream.status_of(e))
      end

      private

      # @return [EventStream, nil] nil if the browser's position is malformed
      def build(stream, env)
        offset = URI.decode_www_form(env["QUERY_STRING"].to_s).assoc("offset")&.last
        EventStream.new(stream, offset: offset, last_event_id: env["HTTP_LAST_EVENT_ID"], heartbeat: @heartbeat)
      rescue ArgumentError
        nil
      end

      # A server with a Fiber scheduler, such as Falcon, calls `each` in the fiber of an Enumerator, which blocks its
      # thread before Ruby 3.4. So such a server gets a body that it calls (Rack 3).
      def body(events)
        return events unless Fiber.respond_to?(:current_scheduler) && Fiber.current_scheduler

        lambda do |stream|
          events.each { |part| stream.write(part) }
        ensure
          stream.close
        end
      end

      def refuse(status)
        [status, { "content-type" => "text/plain", "cache-control" => "no-store" }, ["#{status}\n"]]
      end
    end
  end
end
