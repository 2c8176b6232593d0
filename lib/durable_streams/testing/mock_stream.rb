# frozen_string_literal: true

module DurableStreams
  module Testing
    # One stream in memory: computes the protocol's responses. Used under {MockTransport}'s lock.
    # @api private
    class MockStream
      # @return [Array] the messages: on a JSON stream as JSON.parse returns them, on others Strings
      attr_accessor :messages
      # @return [String]
      attr_reader :content_type
      # @return [Boolean]
      attr_reader :closed
      # @return [MockProducers]
      attr_reader :producers
      # @return [Hash{String => String}] the headers about its expiry
      attr_reader :lifetime

      LIFETIME = [STREAM_TTL_HEADER, STREAM_EXPIRES_AT_HEADER].freeze
      private_constant :LIFETIME

      # @param content_type [String]
      # @param settings [Hash{String => String}] headers of the request that created it
      # @param source [MockStream, nil] the stream that it is a fork of
      def initialize(content_type, settings: {}, source: nil)
        @content_type = content_type
        @settings = settings
        @lifetime = settings.slice(*LIFETIME)
        @lifetime = source.lifetime if source && @lifetime.empty?
        @messages = []
        @closed = false
        @last_seq = nil
        @producers = MockProducers.new
      end

      # @return [Boolean]
      def json?
        essence(@content_type) == "application/json"
      end

      # @return [Boolean] whether this is its content type; nil: any
      def of_type?(content_type)
        content_type.nil? || essence(content_type) == essence(@content_type)
      end

      # @return [Boolean] whether creating it again, with this configuration, succeeds
      def configured_as?(content_type, settings, closed)
        of_type?(content_type) && settings == @settings && closed == @closed
      end

      # @return [Integer] number of messages
      def size
        @messages.size
      end

      # Completes the creation: stores the first content, then closes the stream if it is created closed.
      # @param body [String, nil]
      # @param closed [Boolean]
      # @return [MockResponse, nil] the error response if the content is invalid
      def store_first(body, closed)
        unless body.nil? || body.empty?
          rejection = store(body, empty_allowed: true)
          return rejection if rejection
        end
        @closed = closed
        nil
      end

      # @param status [Integer]
      # @return [MockResponse] the response to HEAD and PUT
      def describe(status)
        respond(status, @lifetime.merge("content-type" => @content_type))
      end

      # @param headers [Hash{String => String}]
      # @param body [String, nil]
      # @return [MockResponse] the response to POST
      def append(headers, body)
        closes = headers[STREAM_CLOSED_HEADER] == "true"
        producer = MockProducers.request(headers)
        return producer if producer.is_a?(MockResponse)
        return respond_when_closed(producer, closes, body) if @closed

        rejection = rejection_of(headers, body, closes, producer)
        return rejection if rejection

        @last_seq = headers[STREAM_SEQ_HEADER] || @last_seq
        @producers.record(*producer, closes) if producer
        @closed = closes
        return respond(204) unless producer

        respond(200, { PRODUCER_EPOCH_HEADER => producer[1], PRODUCER_SEQ_HEADER => producer[2] })
      end

      # @param from [Integer] number of messages to skip
      # @return [MockResponse] the response to a read that does not wait
      def read(from, status: 200)
        respond(status, { "content-type" => @content_type, STREAM_UP_TO_DATE_HEADER => "true",
                          STREAM_CURSOR_HEADER => (@closed ? nil : size) }, body: status == 204 ? "" : content(from))
      end

      # @param from [Integer] number of messages to skip
      # @return [String] the other messages, as a response body
      def content(from)
        rest = @messages.drop(from)
        json? ? JSON.generate(rest, max_nesting: 0) : rest.map(&:b).join
      end

      # @param status [Integer]
      # @param headers [Hash]
      # @return [MockResponse] a response with the stream's position
      def respond(status, headers = {}, body: "")
        position = { STREAM_NEXT_OFFSET_HEADER => MockOffset.of(size) }
        position[STREAM_CLOSED_HEADER] = "true" if @closed
        MockResponse.new(status: status, body: body, headers: position.merge(headers))
      end

      private

      def respond_when_closed(producer, closes, body)
        return respond(204) if closes && (body.nil? || body.empty?) && producer.nil?
        return respond(204) if @producers.closed_by?(producer)

        respond(409, body: "the stream is closed")
      end

      # Stores the content, or returns the response that rejects it.
      def rejection_of(headers, body, closes, producer)
        empty = body.nil? || body.empty?
        return MockResponse.new(status: 400, body: "the body is empty") if empty && !closes
        return content_type_mismatch unless empty || of_type?(headers["content-type"])

        rejection_of_batch(producer) || out_of_sequence(headers[STREAM_SEQ_HEADER]) || (store(body) unless empty)
      end

      def rejection_of_batch(producer)
        rejection = producer && @producers.response_unless_new(*producer)
        rejection&.success? ? respond(rejection.status, rejection.headers) : rejection
      end

      def content_type_mismatch
        MockResponse.new(status: 409, body: "the stream's content type is #{@content_type}")
      end

      def out_of_sequence(seq)
        return if seq.nil? || @last_seq.nil? || seq.b > @last_seq.b

        MockResponse.new(status: 409, body: "Stream-Seq must be above #{@last_seq.inspect}")
      end

      def store(body, empty_allowed: false)
        unless json?
          @messages << label(body)
          return
        end

        messages = JSON.parse(body, max_nesting: 0, allow_duplicate_key: true)
        messages = [messages] unless messages.is_a?(Array)
        return MockResponse.new(status: 400, body: "the array is empty") if messages.empty? && !empty_allowed

        @messages.concat(messages)
        nil
      rescue JSON::ParserError
        MockResponse.new(status: 400, body: "the body is not JSON")
      end

      def label(body)
        text = body.dup.force_encoding(Encoding::UTF_8)
        (text.valid_encoding? ? text : text.force_encoding(Encoding::BINARY)).freeze
      end

      def essence(content_type)
        content_type.to_s[/\A[^;]*/].strip.downcase
      end
    end
  end
end
