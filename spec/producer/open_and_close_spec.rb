# frozen_string_literal: true

on_each_server DurableStreams::Producer, "closing", :producer do
  # Closes the stream with a last message, in another thread. The request is blocked at the gate :closing.
  # @return [Thread]
  def close_blocked(producer)
    block_append(:closing)
    Thread.new { producer.close_stream(data: 1) }.tap { faults.wait_until_waiting(:closing) }
  end

  describe "close" do
    it "sends pending messages and does not close the stream" do
      producer = direct(linger_ms: 60_000)
      producer << 1
      expect(producer.close).to be_nil
      expect(stored).to eq([1])
      expect(stream.head).not_to be_closed
    end

    it "may be called twice, and rejects later appends" do
      producer = direct
      producer.close
      expect(producer.close).to be_nil
      expect(producer).to be_closed
      expect { producer << 1 }.to raise_error(DurableStreams::ClosedError)
      expect { producer.append!(1) }.to raise_error(DurableStreams::ClosedError)
      expect { producer.close_stream }.to raise_error(DurableStreams::ClosedError)
      expect(producer.flush).to be_nil
    end

    it "raises after its timeout with the undelivered messages, and is closed" do
      producer = proxied(linger_ms: 0, max_batch_items: 1, max_in_flight: 1)
      producer.append!(0)
      faults.on("POST", path, &:hang)
      producer << 1 << 2
      faults.wait_for_request(2, method: "POST")
      error = nil
      took = timed { error = failure { producer.close(timeout: 0.1) } }
      expect(took).to be_between(0.1, AtOnce::SECONDS)
      expect(error).to be_a(DurableStreams::TimeoutError)
      expect(error).to have_attributes(undelivered: [1, 2], outcome_unknown?: true)
      expect(producer).to be_closed
      expect(failure { producer.close }).to have_attributes(class: error.class, undelivered: [1, 2])
      faults.wait_until_closed(by: :client) # the request is cancelled
    end

    it "raises the failure every time" do
      producer = direct(linger_ms: 60_000)
      stream.close_stream
      producer << 1
      errors = Array.new(3) { failure { producer.close } }
      expect(errors).to all(be_a(DurableStreams::StreamClosedError))
      expect(errors.map(&:undelivered)).to all(eq([1]))
      expect(producer).to be_closed
    end

    it "raises the failure although another thread, such as that of on_error, closed the producer before" do
      closed = Queue.new
      producer = nil
      on_error = ->(error) { closed << [error, failure { producer.close }] }
      producer = direct(linger_ms: 60_000, on_error: on_error)
      stream.close_stream
      producer << 1
      failure { producer.flush }
      expect(closed.pop).to all(be_a(DurableStreams::StreamClosedError))
      expect(failure { producer.close }).to have_attributes(undelivered: [1])
    end

    it "does not wait for its timeout if nothing is pending" do
      producer = direct(linger_ms: 60_000)
      producer << 1
      expect(timed { producer.close(timeout: 1000) }).to be < AtOnce::SECONDS
      expect(stored).to eq([1])
    end

    it "rejects invalid timeouts" do
      [-1, Float::NAN, "1"].each { |s| expect { direct.close(timeout: s) }.to raise_error(ArgumentError, /timeout/) }
    end

    it "works in a signal trap" do
      producer = direct(linger_ms: 60_000, on_delivery: ->(*) {})
      result = nil
      previous = trap("USR2") do
        producer << { a: 1 }
        result = producer.close(timeout: 60).inspect
      end
      Process.kill("USR2", Process.pid)
      Thread.pass until result
      expect(result).to eq("nil")
      expect(stored).to eq([{ "a" => 1 }])
    ensure
      trap("USR2", previous || "DEFAULT")
    end
  end

  describe "close_stream" do
    it "closes the stream after all messages and returns its final offset, every time" do
      producer = direct(linger_ms: 60_000)
      producer << 1 << 2
      result = producer.close_stream
      expect(result).to eq(DurableStreams::CloseResult.new(final_offset: stream.head.next_offset))
      expect(producer.close_stream).to eq(result)
      expect(producer.close).to be_nil
      expect(stream.head).to be_closed
      expect(stored).to eq([1, 2])
    end

    it "appends a last message in the same request" do
      producer = direct
      producer << 1
      result = producer.close_stream(data: { last: true })
      expect(producer.close_stream(data: { last: true })).to eq(result)
      expect(stored).to eq([1, { "last" => true }])
      expect(stream.head).to have_attributes(closed?: true, next_offset: result.final_offset)
    end

    [nil, { last: true }].each do |first|
      it "rejects a last message after it closed the stream with #{first ? "another one" : "none"}" do
        producer = direct
        result = producer.close_stream(data: first)
        expect { producer.close_stream(data: { last: false }) }
          .to raise_error(DurableStreams::StreamClosedError, /close_stream was called before/)
        expect { producer.close_stream(data: "{") }.to raise_error(DurableStreams::ParseError)
        expect(producer.close_stream).to eq(result)
        expect(stored.size).to eq(first ? 1 : 0)
      end
    end

    it "accepts one of two last messages from two threads and rejects the other one" do
      producer = proxied
      closing = close_blocked(producer)
      expect { producer.close_stream(data: 2) }.to raise_error(DurableStreams::StreamClosedError)
      faults.open(:closing)
      expect(closing.value).to eq(producer.close_stream(data: 1))
      expect(stored).to eq([1])
    end

    it "can be called again with the same message after an interrupt" do
      producer = proxied
      close_blocked(producer).kill.join
      faults.open(:closing)
      expect(producer.close_stream(data: 1).final_offset).to eq(stream.head.next_offset)
      expect(stored).to eq([1])
    end

    [nil, { "last" => 1 }].each do |data|
      it "is idempotent if its response is lost (#{data ? "with" : "without"} data)" do
        producer = proxied
        producer.append!(0)
        faults.next("POST", path) { |reply| reply.forward(server_url).rst }
        expect(producer.close_stream(data: data).final_offset).to eq(stream.head.next_offset)
        expect(stored).to eq([0, data].compact)
      end
    end

    it "finds out where the stream ends if the last response does not say it" do
      upstream = server_url
      faults.next("POST", path) { |reply| reply.forward(upstream).rst }
      faults.next("POST", path) { |reply| reply.respond(204, "", "producer-epoch" => "0", "producer-seq" => "0") }
      expect(proxied.close_stream(data: 1).final_offset).to eq(stream.head.next_offset)
    end

    it "succeeds although nobody says where the stream ends" do
      producer = proxied
      producer.append!(0)
      upstream = server_url
      faults.next("POST", path) { |reply| reply.forward(upstream).rst }
      faults.next("POST", path) { |reply| reply.respond(204, "", "producer-epoch" => "0", "producer-seq" => "1") }
      faults.on("HEAD", path) { |reply| reply.respond(404) }
      expect(producer.close_stream(data: 1)).to eq(DurableStreams::CloseResult.new(final_offset: nil))
      expect(stored).to eq([0, 1])
      expect(stream.head).to be_closed
    end

    it "rejects invalid data and can then be called again" do
      producer = direct
      expect { producer.close_stream(data: "{") }.to raise_error(DurableStreams::ParseError)
      expect(producer).not_to be_closed
      producer.close_stream(data: "{}")
      expect(stored).to eq([{}])
    end

    it "raises with the undelivered messages" do
      producer = direct(linger_ms: 60_000)
      producer << 1
      stream.close_stream
      expect(failure { producer.close_stream(data: 2) }).to be_a(DurableStreams::StreamClosedError)
        .and have_attributes(undelivered: [1, 2])
    end

    it "raises StreamClosedError if another writer closed the stream, even without pending messages" do
      producer = direct
      tail = stream.close_stream.final_offset
      expect(failure { producer.close_stream }).to be_a(DurableStreams::StreamClosedError)
        .and have_attributes(status: 409, final_offset: tail, undelivered: [])
    end
  end

  describe "open" do
    def opened(**options, &block)
      described_class.open(stream: stream, producer_id: "block", linger_ms: 60_000, **options, &block)
    end

    it "returns the producer without a block, or flushes and returns the block's value" do
      expect(opened.close).to be_nil
      expect(opened(epoch: 1) { |producer| (producer << 1) && :value }).to eq(:value)
      expect(stored).to eq([1])
    end

    it "flushes and closes however the block exits" do
      saved = []
      opened { |producer| break (saved << producer && producer << 1) }
      catch(:done) { opened(epoch: 1) { |producer| (saved << producer << 2) && throw(:done, producer << 2) } }
      expect { opened(epoch: 2) { |producer| raise KeyError, (producer << 3).to_s } }.to raise_error(KeyError)
      expect(stored).to eq([1, 2, 3])
      expect(saved.grep(described_class)).to all(be_closed)
    end

    it "raises the error of close" do
      stream.close_stream
      expect { opened { |producer| producer << 1 } }.to raise_error(DurableStreams::StreamClosedError)
    end

    it "raises the error of close although the block closed the producer and rescued it" do
      stream.close_stream
      expect { opened { |producer| failure { (producer << 1).close } } }
        .to raise_error(DurableStreams::StreamClosedError)
    end

    it "logs nothing if the block raised the same error as close" do
      logger = double
      allow(DurableStreams).to receive(:logger).and_return(logger)
      lost = KeyError.new("no token")
      expect { opened(headers: { "x" => -> { raise lost } }) { |producer| producer.append!(1) } }
        .to raise_error(DurableStreams::ProducerError) { |error| expect(error.cause).to equal(lost) }
      stream.close_stream
      expect { opened { |producer| producer.append!(1) } }.to raise_error(DurableStreams::StreamClosedError)
    end

    it "logs the error of close if the block raised that of another producer" do
      stream.close_stream
      logger = double(warn: nil)
      allow(DurableStreams).to receive(:logger).and_return(logger)
      other = direct(epoch: 1)
      expect { opened { |producer| (producer << 1) && other.append!(2) } }
        .to raise_error(DurableStreams::StreamClosedError) { |error| expect(error.undelivered).to eq([2]) }
      expect(logger).to have_received(:warn).with(/StreamClosedError/)
    end

    it "raises the block's exception and logs that of close" do
      stream.close_stream
      logger = double(warn: nil)
      allow(DurableStreams).to receive(:logger).and_return(logger)
      expect { opened { |producer| (producer << 1) && raise(KeyError, "mine") } }.to raise_error(KeyError, "mine")
      expect(logger).to have_received(:warn).with(/StreamClosedError/)
    end
  end
end
