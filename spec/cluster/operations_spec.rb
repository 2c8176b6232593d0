# frozen_string_literal: true

# Every operation, through every kind of node and through the gateway.
RSpec.describe DurableStreams, "on a replicated server", :cluster, without: :gc_pressure do
  ClusterHelpers::ROUTES.each do |route, base_url|
    context "through #{route}" do
      let(:path) { cluster_path }
      let(:client) { DurableStreams::Client.new(base_url: base_url.call(cluster, path)) }
      let(:stream) { client.stream(path) }

      after { client.close }

      # @return [DurableStreams::Stream]
      def create(content_type)
        client.create(path, content_type: content_type)
      end

      # Starts a live read of items or chunks, and waits until it has reached the tail.
      # @return [Thread] whose value is all that it read until the stream was closed
      def tail(live, format = :json)
        reached = Queue.new
        thread = Thread.new do
          Thread.current.report_on_exception = false # raised again by its value
          stream.read(live: live) do |reader|
            reader.each_with_object([]) do |batch, read|
              read.concat(format == :json ? batch.items : [batch.data])
              reached << true if batch.up_to_date?
            end
          end
        ensure
          reached << true
        end
        reached.pop
        thread
      end

      # @return [String] all that the chunks have
      def data(chunks)
        chunks.map(&:data).join
      end

      # @return [Object] what the thread read; raises what it raised
      def value_of(thread)
        expect(thread.join(Cluster::PATIENCE)).not_to be_nil, "the read did not end"
        thread.value
      end

      it "creates a stream, finds it and deletes it" do
        expect(stream.exists?).to be(false)
        create(:json)
        create(:json) # The same configuration again is a success.
        head = stream.head
        expect([head.exists?, head.content_type, head.closed?]).to eq([true, "application/json", false])
        expect { create(:text) }.to raise_error(DurableStreams::StreamExistsError)
        stream.delete
        expect(stream.exists?).to be(false)
      end

      it "creates a stream with content, closed, and with an expiry" do
        client.create(path, content_type: :text, body: "all", closed: true, ttl_seconds: 3600)
        expect(stream.head.to_h).to include(stream_closed: true, ttl_seconds: 3600)
        expect(data(stream.read_all)).to eq("all")
      end

      it "raises StreamNotFoundError where there is no stream" do
        expect { stream.head }.to raise_error(DurableStreams::StreamNotFoundError)
        expect { stream.read_all }.to raise_error(DurableStreams::StreamNotFoundError)
        expect { stream.delete }.to raise_error(DurableStreams::StreamNotFoundError)
        expect { client.stream(path, content_type: :json).append(1) }
          .to raise_error(DurableStreams::StreamNotFoundError) { |error| expect(error.outcome_unknown?).to be(false) }
        expect { stream.read_json(live: :sse).first }.to raise_error(DurableStreams::StreamNotFoundError)
        expect { stream.read_json(live: :long_poll).first }.to raise_error(DurableStreams::StreamNotFoundError)
      end

      it "appends to a JSON stream and reads it in every mode" do
        create(:json)
        items = [{ "a" => [1, 2] }, [1, [2]], { "text" => "with\nlines" }, 1.5, true, nil]
        results = items.first(3).map { |item| stream.append(item) }
        results += items.drop(3).map { |item| stream.append!(item) }
        expect(results.map(&:next_offset)).to eq(results.map(&:next_offset).uniq.sort)
        expect(results.last.next_offset).to eq(stream.head.next_offset)
        expect(stream.read_all).to eq(items)
        expect(stream.read_all(offset: results[1].next_offset)).to eq(items.drop(2))
        stream.close_stream
        %i[off long_poll sse auto].each { |live| expect(stream.read_json(live: live).to_a).to eq(items) }
      end

      it "appends to a stream of bytes and reads it in every mode" do
        create(:bytes)
        bytes = (0..255).to_a.pack("C*")
        stream.append(bytes)
        stream << bytes
        stream.close_stream
        %i[off long_poll sse auto].each do |live|
          expect(data(stream.read_bytes(live: live))).to eq(bytes * 2)
        end
      end

      it "appends to a text stream and reads it in every mode" do
        create(:text)
        stream.append("Straße\n")
        stream.append("\nzwei")
        stream.close_stream
        %i[off long_poll sse auto].each do |live|
          chunks = stream.read_bytes(live: live).to_a
          expect([data(chunks), chunks.first.data.encoding]).to eq(["Straße\n\nzwei", Encoding::UTF_8])
        end
      end

      it "appends in the order of seq, and raises SeqConflictError otherwise" do
        create(:json)
        stream.append(1, seq: "0001")
        stream.append(2, seq: "0002")
        expect { stream.append(3, seq: "0002") }
          .to raise_error(DurableStreams::SeqConflictError) { |error| expect(error.outcome_unknown?).to be(false) }
        expect(stream.read_all).to eq([1, 2])
      end

      it "closes a stream, once with data and any number of times without" do
        create(:json)
        stream.append(1)
        final = stream.close_stream(data: 2).final_offset
        expect(stream.close_stream.final_offset).to eq(final)
        expect(stream.head.to_h).to include(next_offset: final, stream_closed: true)
        expect { stream.append(3) }
          .to raise_error(DurableStreams::StreamClosedError) { |error| expect(error.final_offset).to eq(final) }
        expect { stream.close_stream(data: 3) }.to raise_error(DurableStreams::StreamClosedError)
        expect(stream.read_all).to eq([1, 2])
      end

      %i[long_poll sse].each do |live|
        it "follows a stream by #{live} until it is closed" do
          create(:json)
          stream.append(-1)
          thread = tail(live)
          3.times { |number| stream.append(number) }
          stream.close_stream(data: 3)
          expect(value_of(thread)).to eq([-1, 0, 1, 2, 3])
        end

        it "follows a stream of bytes by #{live} until it is closed" do
          create(:bytes)
          thread = tail(live, :bytes)
          stream.append("\xFF\x00".b)
          stream.close_stream(data: "\r\n".b)
          expect(value_of(thread).join).to eq("\xFF\x00\r\n".b)
        end
      end

      it "resumes a read where another one has ended" do
        create(:json)
        stream.append(1)
        reader = stream.read_json
        expect(reader.to_a).to eq([1])
        stream.append(2)
        expect(stream.read_json(offset: reader.next_offset).to_a).to eq([2])
        expect(stream.read_json(offset: stream.head.next_offset).to_a).to eq([])
      end

      # A response has 8 MiB at most, and ends anywhere: inside of a record.
      it "reads more than fits into one response" do
        create(:json)
        items = Array.new(20) { |number| { "number" => number, "text" => "é" * 500_000 } }
        items.each { |item| stream.append(item) }
        stream.close_stream
        %i[off long_poll sse].each { |live| expect(stream.read_json(live: live).to_a == items).to be(true) }
      end

      it "delivers a producer's messages once and in order, and closes the stream" do
        create(:json)
        delivered = 0
        options = { stream: stream, producer_id: "writer", max_batch_items: 10 }
        DurableStreams::Producer.open(**options, on_delivery: ->(_result, count) { delivered += count }) do |producer|
          500.times { |number| producer.append(number) }
          producer.flush
          expect(producer.append!(500).next_offset).to eq(stream.head.next_offset)
          expect(producer.close_stream(data: 501).final_offset).to eq(stream.head.next_offset)
        end
        expect(stream.read_all).to eq((0..501).to_a)
        expect(delivered).to be >= 501
      end

      it "claims the next epoch for a producer that is run again" do
        create(:json)
        run = lambda do |data|
          options = { stream: stream, producer_id: "writer", auto_claim: true }
          DurableStreams::Producer.open(**options) { |producer| producer.append!(data).epoch }
        end
        expect([run.call(1), run.call(2), run.call(3)]).to eq([0, 1, 2])
        expect(stream.read_all).to eq([1, 2, 3])
      end

      it "fences a producer whose epoch is older" do
        create(:json)
        options = { stream: stream, producer_id: "writer" }
        DurableStreams::Producer.open(**options, epoch: 3) { |producer| producer << 3 }
        expect { DurableStreams::Producer.open(**options, epoch: 2) { |producer| producer << 2 } }
          .to raise_error(DurableStreams::StaleEpochError) { |error| expect(error.current_epoch).to eq(3) }
        expect(stream.read_all).to eq([3])
      end

      # This server knows no forks, and ignores the headers that request one.
      it "raises FetchError where a fork came out as an empty stream" do
        create(:json)
        stream.append(1)
        expect { stream.fork(cluster_path("fork")) }.to raise_error(DurableStreams::FetchError, /fork/)
      end
    end
  end
end
