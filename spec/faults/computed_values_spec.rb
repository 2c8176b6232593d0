# frozen_string_literal: true

require "timeout"

# Appends through a handle whose headers or parameters are computed.
RSpec.describe "Appends with value callables", :faults do
  # Holds the response to the next request until :go is opened, and answers all others at once.
  def hold_first
    faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
    faults.next("POST") { |reply| reply.wait(:go).respond(204, **FaultHelpers::OFFSET) }
  end

  def stored
    have_attributes(class: DurableStreams::AppendResult, next_offset: "7")
  end

  # Starts an append in a thread of its own, and waits until the thread waits.
  def append(stream, data, tenant: nil)
    thread = in_thread do
      Thread.current[:tenant] = tenant
      stream.append(data)
    end
    Thread.pass until thread.stop?
    thread
  end

  # What became of appends, for which there is a bound.
  def outcomes(*appends)
    appends.map { |thread| thread.join(FaultServer::PATIENCE) ? thread.value : "still waits" }
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
      it "are sent each by itself, with the values of the thread that appends (#{where})" do
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

    it "are sent in the order in which their thread makes them" do
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

    it "share a request and the values of the first of them, which are computed once for it" do
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

    it "have the values of the first caller who still waits when the request is sent again" do
      stream = fault_client(headers: { "X-Tenant" => -> { Thread.current[:tenant] } },
                            retries: { max_retries: 1, max_delay: 5 })
               .stream("/s", content_type: :json, batching: :shared_values)
      hold_first
      first = append(stream, 0, tenant: "a")
      faults.wait_until_waiting(:go)
      rest = [1, 2].map { |n| append(stream, n, tenant: "b#{n}") }
      faults.next("POST") { |reply| reply.retry_after(1) }
      faults.open(:go)
      faults.wait_until_answered(2)
      rest.first.raise(Timeout::Error, "enough")
      expect(outcomes(first, *rest)).to match([stored, an_instance_of(Timeout::Error), stored])
      expect(sent).to eq([["[0]", "a"], ["[1,2]", "b1"], ["[2]", "b2"]])
    end
  end
end
