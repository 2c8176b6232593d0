# frozen_string_literal: true

# Many small batches, five in flight, over a network with all kinds of faults. By default 10,000 messages;
# PRODUCER_MESSAGES=100000 takes half a minute or more.
on_each_server DurableStreams::Producer, "exactly once", :producer do
  let(:count) { Integer(ENV.fetch("PRODUCER_MESSAGES", 10_000)) }

  # Everything that may happen to one request.
  let(:replies) do
    real = server_url
    {
      request_lost: lambda(&:rst),
      request_closed: lambda(&:fin),
      response_lost: ->(reply) { reply.forward(real).rst },
      response_cut: ->(reply) { reply.forward(real).cut(after: 30).send_response },
      doubled: ->(reply) { reply.forward(real).forward(real).send_response(0) },
      doubled_with_second_response: ->(reply) { reply.forward(real).forward(real).send_response(1) },
      failed_before_storing: ->(reply) { reply.respond(503) },
      failed_after_storing: ->(reply) { reply.forward(real).respond(502) },
      rate_limited: ->(reply) { reply.retry_after(0) },
      request_late: ->(reply) { reply.delay(0.02).forward(real).send_response },
      response_late: ->(reply) { reply.forward(real).delay(0.02).send_response },
      normal: ->(reply) { reply.forward(real).send_response }
    }
  end

  # Injects a fault into one of five requests. The epoch's first request may be one of them.
  def script(requests)
    random = Random.new(RSpec.configuration.seed)
    requests.times do
      reply = random.rand < 0.2 ? replies.values.sample(random: random) : replies[:normal]
      faults.next("POST", path, &reply)
    end
  end

  def write(producer)
    count.times { |i| producer << { "i" => i } }
    producer.close
    expect(stored).to eq(Array.new(count) { |i| { "i" => i } })
  end

  it "stores every message once and in order over a faulty network" do
    script(count / 20)
    write(proxied(max_in_flight: 5, max_batch_items: 20, linger_ms: 1, retry_policy: quick(max_retries: 30)))
  end

  it "stores every message once and in order over a network without faults" do
    write(direct(max_in_flight: 5, max_batch_items: 10))
  end
end
