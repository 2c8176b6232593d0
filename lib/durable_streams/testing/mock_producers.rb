# frozen_string_literal: true

module DurableStreams
  module Testing
    # The idempotent producers of a stream in memory: the last batch of each (PROTOCOL.md 5.2.1).
    # @api private
    class MockProducers
      Batch = Struct.new(:epoch, :seq)
      private_constant :Batch

      NAMES = [PRODUCER_ID_HEADER, PRODUCER_EPOCH_HEADER, PRODUCER_SEQ_HEADER].freeze
      private_constant :NAMES

      # @return [Hash{String => Batch}] the last batch of each producer, by id
      attr_reader :last
      # @return [Hash{String => Batch}] those that were known when the streams were cleared
      attr_writer :before

      def initialize
        @last = {}
        @before = {}
        @closed_by = nil
      end

      # @param headers [Hash{String => String}] headers of a request
      # @return [Array(String, Integer, Integer), MockResponse, nil] id, epoch and sequence number; nil if the request
      #   has none of them; the 400 response if some are missing or not whole numbers
      def self.request(headers)
        id, *numbers = headers.values_at(*NAMES)
        return if id.nil? && numbers.none?

        unless id && !id.empty? && numbers.all?(/\A(0|[1-9]\d{0,15})\z/)
          return MockResponse.new(status: 400, body: "Producer-Id, Producer-Epoch and Producer-Seq must be given " \
                                                     "together, the last two as whole numbers")
        end

        [id, *numbers.map(&:to_i)]
      end

      # @return [MockResponse, nil] the response to a batch that is not stored; nil for the next batch, which is
      def response_unless_new(id, epoch, seq)
        last = @last[id] || continued(id, epoch, seq) || Batch.new(epoch, -1)
        if epoch < last.epoch
          MockResponse.new(status: 403, headers: { PRODUCER_EPOCH_HEADER => last.epoch })
        elsif epoch > last.epoch
          MockResponse.new(status: 400, body: "a new epoch starts at Producer-Seq 0") if seq.positive?
        elsif seq > last.seq + 1
          gap(last.seq + 1, seq)
        elsif seq <= last.seq
          MockResponse.new(status: 204, headers: { PRODUCER_EPOCH_HEADER => epoch, PRODUCER_SEQ_HEADER => last.seq })
        end
      end

      # Records a batch that was stored.
      # @return [nil]
      def record(id, epoch, seq, closes)
        @last[id] = Batch.new(epoch, seq)
        @closed_by = [id, epoch, seq] if closes
        nil
      end

      # @return [Boolean] whether this is the request that closed the stream
      def closed_by?(request)
        !request.nil? && @closed_by == request
      end

      private

      # A producer that an application keeps from test to test continues where it was.
      def continued(id, epoch, seq)
        last = @before[id]
        last if last && last.epoch == epoch && last.seq < seq
      end

      def gap(expected, received)
        MockResponse.new(status: 409, headers: { PRODUCER_EXPECTED_SEQ_HEADER => expected,
                                                 PRODUCER_RECEIVED_SEQ_HEADER => received })
      end
    end
  end
end
