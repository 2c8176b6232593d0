# frozen_string_literal: true

module DurableStreams
  module Testing
    # A long-poll request that waits for data.
    # @api private
    class MockLongPoll
      # @param request [Native::Request]
      # @param from [Integer] number of messages that the reader has
      def initialize(request, from)
        @request = request
        @from = from
      end

      # Responds if there is new data.
      # @param stream [MockStream]
      # @return [Boolean] whether it no longer waits
      def done?(stream)
        return true unless @request.wanted?
        return false unless stream.size > @from || stream.closed

        stream.read(@from, status: stream.size > @from ? 200 : 204).send_to(@request)
        true
      end

      # Responds that the stream does not exist any more.
      # @return [nil]
      def stream_deleted
        MockResponse.new(status: 404).send_to(@request)
      end
    end

    # An SSE connection.
    # @api private
    class MockEventStream
      # @param request [Native::Request]
      # @param from [Integer] number of messages that the reader has
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

      # Sends new data and the new position.
      # @param stream [MockStream]
      # @return [Boolean] whether it no longer waits
      def done?(stream)
        return true unless @request.wanted?
        # The stream was created meanwhile with a type that SSE encodes differently: the reader has to reconnect.
        return finish unless ContentType.plain_in_sse?(stream.content_type) == @plain

        state = [stream.size, stream.closed]
        return false if state == @sent

        @request.push(events(stream))
        @sent = state
        @from = stream.size
        stream.closed ? finish : false
      end

      # Responds that the stream does not exist any more. If the response only ended, the reader would go on with the
      # next stream of this path.
      # @return [nil]
      def stream_deleted
        error = { code: "NOT_FOUND", message: "the stream was deleted" }
        @request.push(event("error", JSON.generate(error: error)))
        @request.finish
      end

      private

      def finish
        @request.finish
        true
      end

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
