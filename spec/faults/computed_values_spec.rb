# frozen_string_literal: true

require_relative "../support/small_scheduler"
require "timeout"

# Appends through a handle whose headers or parameters are value callables.
RSpec.describe "Appends with value callables", :faults do
  # Makes the response to the next request wait until :go is opened, and responds to all others at once.
  def hold_first
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.next("POST") { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
  end

  def stored
    have_attributes(class: DurableStreams::AppendResult, next_offset: "7")
  end

  # Starts an append in a new thread, and waits until that thread waits.
  def append(stream, data, tenant: nil)
    thread = in_thread do
      Thread.current[:tenant] = tenant
      stream.append(data)
    end
    Thread.pass until thread.stop?
    thread
  end

  # The results of appends. Waits for each for a limited time.
  def outcomes(*appends)
    appends.map { |thread| thread.join(FaultServer::TIMEOUT) ? thread.value : "still waits" }
  end

  def sent
    faults.requests(method: "POST").map { |request| [request.body, request.header("x-tenant")] }
  end

  describe "by default" do
    tenant = -> { Thread.current[:tenant] }
    handles = {
      "its own headers" => lambda do |spec|
        spec.fault_client.stream("/s", content_type: :json, headers: { "X-Tenant" => tenant })
      end,
      "its client's headers" => ->(spec) { spec.fault_stream(headers: { "X-Tenant" => tenant }) },
      "its own parameters" => lambda do |spec|
        spec.fault_client.stream("/s", content_type: :json, params: { "tenant" => tenant })
      end,
      "its client's parameters" => ->(spec) { spec.fault_stream(params: { "tenant" => tenant }) }
    }
    handles.each do |where, make|
      it "are each sent in their own request, with the values of the appending thread (#{where})" do
        stream = make.call(self)
        faults.on("POST") { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
        appends = Array.new(5) { |n| append(stream, n, tenant: "tenant-#{n}") }
        faults.wait_for_request(5)
        faults.open(:go)
        expect(appends.map(&:value)).to all(stored)
        tenants = faults.requests.map { |request| request.header("x-tenant") || request.params["tenant"] }
        expect(faults.requests.map(&:body).zip(tenants)).to match_array(Array.new(5) { |n| ["[#{n}]", "tenant-#{n}"] })
      end
    end

    it "are sent in each thread's order" do
      stream = fault_stream(headers: { "X-Tenant" => tenant })
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      threads = Array.new(4) do |thread|
        in_thread do
          Thread.current[:tenant] = thread.to_s
          10.times { |n| stream.append(n) }
        end
      end
      expect(threads.map(&:value)).to all(eq(10))
      expect(sent.group_by(&:last).transform_values { |bodies| bodies.map(&:first) })
        .to eq(Array.new(4) { |thread| [thread.to_s, Array.new(10) { |n| "[#{n}]" }] }.to_h)
    end
  end

  describe "with batching: :shared_values" do
    def shared_stream(headers)
      fault_client(headers: headers).stream("/s", content_type: :json, batching: :shared_values)
    end

    it "share a request with the values of the first append, which are computed once" do
      computed = 0
      stream = shared_stream("X-Tenant" => -> { "#{Thread.current[:tenant]} #{computed += 1}" })
      hold_first
      first = append(stream, 0, tenant: "a")
      faults.wait_until_waiting(:go)
      rest = [1, 2, 3].map { |n| append(stream, n, tenant: "b#{n}") }
      faults.open(:go)
      expect(outcomes(first, *rest)).to all(stored)
      expect(sent).to eq([["[0]", "a 1"], ["[1,2,3]", "b1 2"]])
    end

    it "use the values of the first caller that still waits when the request is sent again" do
      stream = fault_client(headers: { "X-Tenant" => -> { Thread.current[:tenant] } },
                            retries: { max_retries: 1, max_delay: 5 })
               .stream("/s", content_type: :json, batching: :shared_values)
      hold_first
      first = append(stream, 0, tenant: "a")
      faults.wait_until_waiting(:go)
      rest = [1, 2].map { |n| append(stream, n, tenant: "b#{n}") }
      faults.next("POST") { |reply| reply.retry_after(1) }
      faults.open(:go)
      faults.wait_until_responded(2)
      rest.first.raise(Timeout::Error, "enough")
      expect(outcomes(first, *rest)).to match([stored, an_instance_of(Timeout::Error), stored])
      expect(sent).to eq([["[0]", "a"], ["[1,2]", "b1"], ["[2]", "b2"]])
    end

    it "do not include an append whose caller is interrupted while another computes the values" do
      computing = Thread::Queue.new
      computed = Thread::Queue.new
      token = lambda do
        next "t" unless Thread.current[:tenant] == "slow"

        computing << true
        computed.pop
      end
      stream = shared_stream("X-Tenant" => token)
      hold_first
      first = append(stream, 0)
      faults.wait_until_waiting(:go)
      rest = [append(stream, 1, tenant: "slow"), append(stream, 2), append(stream, 3)]
      faults.open(:go)
      computing.pop
      rest[1].kill.join
      computed << "s"
      expect(outcomes(first, rest[0], rest[2])).to all(stored)
      expect(sent.last).to eq(["[1,3]", "s"])
    end

    # A stream whose value callable runs the block once, with the stream, on a thread that has the variable :nests.
    def stream_that_nests
      stream = nil
      to_do = [true]
      token = lambda do
        yield stream if Thread.current.thread_variable_get(:nests) && to_do.pop
        "t"
      end
      stream = shared_stream("X-Tenant" => token)
    end

    def append_nesting(stream, data)
      thread = in_thread do
        Thread.current.thread_variable_set(:nests, true)
        stream.append(data)
      end
      Thread.pass until thread.stop?
      thread
    end

    {
      "itself" => ->(stream) { stream.append(9) },
      "in a fiber" => ->(stream) { Fiber.new(blocking: true) { stream.append(9) }.resume },
      "on a thread for which it waits" => ->(stream) { Thread.new { stream.append(9) }.join }
    }.each do |where, nest|
      it "continue when a callable appends to the handle #{where}, for an append that waits to share a request" do
        stream = stream_that_nests(&nest)
        hold_first
        first = append(stream, 0)
        faults.wait_until_waiting(:go)
        rest = [append_nesting(stream, 1), append(stream, 2)]
        faults.open(:go)
        expect(outcomes(first, *rest)).to all(stored)
        expect(sent.map(&:first)).to eq(["[0]", "[9]", "[1,2]"])
      end

      it "continue when a callable appends to the handle #{where}, for an append that others wait for" do
        stream = stream_that_nests(&nest)
        faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
        expect(outcomes(append_nesting(stream, 1))).to contain_exactly(stored)
        expect(sent.map(&:first)).to eq(["[9]", "[1]"])
      end

      next if RUBY_VERSION < "3.1" # Before Ruby 3.1, fibers wait as threads do.

      it "continue when a callable appends to the handle #{where}, for a fiber's append" do
        stream = stream_that_nests(&nest)
        faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
        running = in_thread do
          appended = nil
          SmallScheduler.run do
            Thread.current.thread_variable_set(:nests, true)
            Fiber.schedule { appended = stream.append(1) }
          end
          appended
        end
        expect(outcomes(running)).to contain_exactly(stored)
        expect(sent.map(&:first)).to eq(["[9]", "[1]"])
      end
    end

    it "are sent at once when a callable makes them, even while other requests of the handle are in flight" do
      other = nil
      stream = stream_that_nests do |handle|
        faults.next("POST") { |reply| reply.wait(:other).respond(204, **FaultHelpers::OFFSET) }
        other = append(handle, 8)
        faults.wait_until_waiting(:other)
        handle.append(9)
        faults.open(:other)
      end
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      expect(outcomes(append_nesting(stream, 1))).to contain_exactly(stored)
      expect(outcomes(other)).to contain_exactly(stored)
      expect(sent.map(&:first)).to eq(["[8]", "[9]", "[1]"])
    end

    it "of other threads do not wait for a callable" do
      computing = Thread::Queue.new
      computed = Thread::Queue.new
      stream = stream_that_nests do
        computing << true
        computed.pop
      end
      hold_first
      first = append(stream, 0)
      faults.wait_until_waiting(:go)
      slow = append_nesting(stream, 1)
      faults.open(:go)
      computing.pop
      expect(outcomes(append(stream, 2))).to contain_exactly(stored)
      computed << true
      expect(outcomes(first, slow)).to all(stored)
      expect(sent.map(&:first)).to eq(["[0]", "[2]", "[1]"])
    end
  end
end
