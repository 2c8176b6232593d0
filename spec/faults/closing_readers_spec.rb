# frozen_string_literal: true

# Closing from another thread: whatever a reader is doing, its iteration ends quietly and at once.
RSpec.describe "Closing a reader from another thread", :faults do
  states = {
    "it connects" => lambda do |server|
      server.refuse_connections
    end,
    "it waits for an answer" => ->(server) { server.on(&:hang) },
    "it waits for more of a body" => lambda do |server|
      server.on { |reply| reply.head(200, "stream-next-offset" => "9").chunk("[1").hang }
      server.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.data("[1]").chunk("event: c").hang }
    end,
    "it waits for news by long-poll" => lambda do |server|
      server.on { |reply| reply.read("[]", next_offset: "1") }
      server.on(nil, nil, query: { "live" => "long-poll" }, &:hang)
      server.on(nil, nil, query: { "live" => "sse" }) { |reply| reply.sse.control("1", up_to_date: true).hang }
    end,
    "it waits before it tries again" => ->(server) { server.on { |reply| reply.respond(503) } },
    "it waits for as long as Retry-After says" => ->(server) { server.on { |reply| reply.retry_after(900) } },
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
      next if mode == :off && state.match?(/news|event streams/)

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

    it "ends next with live: :#{mode}" do
      faults.on(&:hang)
      reader = fault_stream.read_json(live: mode)
      reading = in_thread { loop { reader.next }.then { :ended } }
      faults.wait_for_request
      expect(timed { reader.close || reading.join }).to be < AtOnce::SECONDS
      expect(reading.value).to eq(:ended)
    end
  end

  it "ends while the block works: the block is not called again" do
    faults.on { |reply| reply.read("[1,2,3]", next_offset: "3", up_to_date: false) }
    reader = fault_stream.read_json
    seen = []
    reader.each { |item| in_thread { reader.close }.join if (seen << item).size == 2 }
    expect(seen).to eq([1, 2])
  end

  it "ends while a callable is asked" do
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

  describe "and closing the client" do
    it "lets a request that is out come to its end, and refuses the next with ClosedError" do
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

    it "refuses every request from then on" do
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

    it "drops idle connections" do
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      client = fault_client
      client.stream("/s", content_type: :json).head
      client.close
      # Those that are only idle are dropped after 15 s.
      expect(faults.wait_until_closed(1, by: :client, timeout: 10)).not_to be_nil
    end
  end
end
