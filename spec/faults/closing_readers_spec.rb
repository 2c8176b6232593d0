# frozen_string_literal: true

# When another thread closes a reader, the reader's iteration ends at once and without an error.
RSpec.describe "Closing a reader from another thread", :faults do
  states = {
    "it connects" => lambda do |server|
      server.refuse_connections
    end,
    "it waits for a response" => ->(server) { server.on(&:hang) },
    "it waits for more of a body" => lambda do |server|
      server.on { |reply| reply.head(200, "stream-next-offset" => "9").chunk("[1").hang }
      server.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.data("[1]").chunk("event: c").hang }
    end,
    "it waits for new data" => lambda do |server|
      server.on { |reply| reply.read("[]", next_offset: "1") }
      server.on(nil, nil, query: { "live" => "long-poll" }, &:hang)
      server.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.control("1", up_to_date: true).hang }
    end,
    "it waits before a retry" => ->(server) { server.on { |reply| reply.respond(503) } },
    "it waits for the time in Retry-After" => ->(server) { server.on { |reply| reply.retry_after(900) } },
    "it waits between two event streams" => lambda do |server|
      server.on { |reply| reply.read("[]", next_offset: "1") }
      server.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.chunk("retry: 900000\n\n").control("1").rst }
      server.on(nil, nil, query: { "live" => "long-poll" }, &:hang)
    end
  }
  uses = {
    "batches" => ->(stream, live) { stream.read(live: live) },
    "items" => ->(stream, live) { stream.read_json(live: live) },
    "bytes" => ->(stream, live) { stream.read_bytes(live: live) }
  }

  FaultReads::MODES.each do |mode|
    states.each do |state, script|
      next if mode == :off && state.match?(/new data|event streams/)

      uses.each do |use, read|
        it "ends #{use} with live: :#{mode} while #{state}" do
          script.call(faults)
          stream = fault_stream(retries: { max_retries: 1000, initial_delay: 1000, max_delay: 1000 })
          reader = read.call(stream, mode)
          reading = in_thread { reader.each(&:itself) }
          state == "it connects" ? Thread.pass : faults.wait_for_request
          Thread.pass until reading.stop?
          expect(timed { reader.close && reading.join }).to be < AtOnce::SECONDS
          expect(reading.value).to equal(reader)
          expect { reader.each(&:itself) }.to raise_error(DurableStreams::ClosedError)
        end
      end
    end

    it "ends a waiting call of next with live: :#{mode}" do
      faults.on(&:hang)
      reader = fault_stream.read_json(live: mode)
      reading = in_thread { loop { reader.next }.then { :ended } }
      faults.wait_for_request
      expect(timed { reader.close || reading.join }).to be < AtOnce::SECONDS
      expect(reading.value).to eq(:ended)
    end
  end

  it "does not call the block again if it is closed while the block runs" do
    faults.on { |reply| reply.read("[1,2,3]", next_offset: "3", up_to_date: false) }
    reader = fault_stream.read_json
    seen = []
    reader.each { |item| in_thread { reader.close }.join if (seen << item).size == 2 }
    expect(seen).to eq([1, 2])
  end

  it "ends while a value callable runs" do
    entered = Thread::Queue.new
    leave = Thread::Queue.new
    client = fault_client(headers: { "X" => -> { entered.push(true) && leave.pop } })
    reader = client.stream("/s", content_type: :json).read(live: :sse)
    reading = in_thread { reader.each(&:itself) }
    entered.pop
    reader.close
    leave << "x"
    expect(timed { reading.join }).to be < AtOnce::SECONDS
    expect(reading.value).to equal(reader)
  end

  it "closes the connection" do
    faults.on { |reply| reply.sse.control("1").hang }
    reader = fault_stream.read_json(live: :sse)
    in_thread { reader.each(&:itself) }
    faults.wait_for_request
    reader.close
    expect(faults.wait_until_closed(1, by: :client)).not_to be_nil
  end

  describe "by closing the client" do
    it "completes a request that was sent, and raises ClosedError for the next" do
      faults.on { |reply| reply.wait(:go).read("[1]", next_offset: "1", up_to_date: false) }
      client = fault_client
      reader = client.stream("/s", content_type: :json).read_json
      seen = []
      reading = in_thread { reader.each { |item| seen << item } }
      faults.wait_until_waiting(:go)
      client.close
      faults.open(:go)
      expect(reading.value).to be_a(DurableStreams::ClosedError).and have_attributes(code: "CLOSED")
      expect(seen).to eq([1])
      expect(faults.requests.size).to eq(1)
    end

    it "raises ClosedError at once if the reader waits before a retry" do
      faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
      faults.on { |reply| reply.retry_after(29, 503) }
      client = DurableStreams::Client.new(base_url: faults.url, retry_policy: DurableStreams::RetryPolicy.new)
      reader = client.stream("/s", content_type: :json).read_json(live: :long_poll)
      reading = in_thread { reader.each(&:itself) }
      faults.wait_until_responded(2)
      client.close
      expect(reading.join(20)&.value).to be_a(DurableStreams::ClosedError)
    end

    it "raises ClosedError for every later request" do
      client = fault_client
      stream = client.stream("/s", content_type: :json)
      client.close
      FaultHelpers::REQUESTS.each_value do |kind|
        expect { kind.send_on(stream) }.to raise_error(DurableStreams::ClosedError, /client is closed/)
      end
      FaultReads::MODES.each do |mode|
        expect { stream.read(live: mode).first }.to raise_error(DurableStreams::ClosedError)
      end
      expect(faults.connections).to eq(0)
    end

    it "closes idle connections" do
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      client = fault_client
      client.stream("/s", content_type: :json).head
      client.close
      # Without the close, an idle connection is closed after 15 s.
      expect(faults.wait_until_closed(1, by: :client, timeout: 10)).not_to be_nil
    end
  end
end
