# frozen_string_literal: true

module DurableStreams
  module Testing
    # A long-poll that waits until there is something to answer.
    # @api private
    class MockLongPoll
      # @param request [Native::Request]
      # @param from [Integer] how many messages its reader has
      def initialize(request, from)
        @request = request
        @from = from
      end

      # Answers if there is something new.
      # @param stream [MockStream]
      # @return [Boolean] whether it waits no more
      def done?(stream)
        return true unless @request.wanted?
        return false unless stream.size > @from || stream.closed

        stream.read(@from, status: stream.size > @from ? 200 : 204).send_to(@request)
        true
      end

      # The stream is there no more.
      # @return [nil]
      def stream_deleted
        MockResponse.new(status: 404).send_to(@request)
      end
    end

    # A connection of server-sent events.
    # @api private
    class MockEventStream
      # @param request [Native::Request]
      # @param from [Integer] how many messages its reader has
      # @param stream [MockStream]
      def initialize(request, from, stream)
        @request = request
        @from = from
        @sent = nil
        type = stream.content_type
        @plain = ContentType.plain_in_sse?(type)
        headers = { "content-type" => "text/event-stream" }
        headers["stream-sse-data-encoding"] = "base64" unless @plain
        request.respond(200, headers, nil)
      end

      # Sends what is new.
      # @param stream [MockStream]
      # @return [Boolean] whether it waits no more
      def done?(stream)
        return true unless @request.wanted?
        # It was not there at first, and is something else: who waits for it asks again.
        return stream_deleted || true unless ContentType.plain_in_sse?(stream.content_type) == @plain

        state = [stream.size, stream.closed]
        return false if state == @sent

        @request.push(events(stream))
        @sent = state
        @from = stream.size
        @request.finish if stream.closed
        stream.closed
      end

      # The stream is there no more.
      # @return [nil]
      def stream_deleted
        @request.finish
      end

      private

      def events(stream)
        control = { streamNextOffset: MockOffset.of(stream.size), upToDate: true }
        control.update(stream.closed ? { streamClosed: true } : { streamCursor: stream.size.to_s })
        event("control", JSON.generate(control)).tap do |text|
          text.prepend(event("data", data(stream))) if stream.size > @from
        end
      end

      def data(stream)
        content = stream.content(@from)
        @plain ? content : [content].pack("m0")
      end

      def event(type, data)
        lines = data.b.split(/\r\n|\r|\n/n, -1)
        lines = [""] if lines.empty?
        "event: #{type}\n".b + lines.map { |line| "data: ".b + line + "\n".b }.join + "\n".b
      end
    end
  end
end
