# frozen_string_literal: true

# Responses that replicated servers send, such as Ursula, and the real servers here do not.
RSpec.describe DurableStreams::Producer, "with a replicated server", :producer do
  def one_by_one(**options)
    proxied(linger_ms: 0, max_batch_items: 1, **options)
  end

  # Scripts a response by which the server closes the producer's epoch, although the id has no newer one.
  def close_epoch(epoch, outcome)
    faults.next("POST", path) do |reply|
      reply.respond(403, '{"error":{"code":"PRODUCER_EPOCH_CLOSED","message":"history was lost"}}',
                    "producer-epoch" => epoch, "producer-outcome" => outcome)
    end
  end

  it "counts a duplicate whose offset the server has forgotten as delivered, without an offset" do
    results = []
    producer = one_by_one(on_delivery: ->(result, _) { results << result })
    producer.append!(0)
    faults.next("POST", path) { |reply| reply.forward(server_url).rst }
    faults.next("POST", path) do |reply|
      reply.respond(204, "producer-epoch" => 0, "producer-seq" => 1, "producer-outcome" => "receipt-evicted")
    end
    expect(producer.append!(1)).to have_attributes(duplicate?: true, next_offset: nil, epoch: 0, seq: 1)
    expect(producer.append!(2)).to have_attributes(duplicate?: false, next_offset: stream.head.next_offset)
    producer.close
    expect(stored).to eq([0, 1, 2])
    expect(results.map(&:next_offset).map(&:nil?)).to eq([false, true, false])
  end

  ["epoch-closed;by=history", "producer-expired", "key-conflict"].each do |outcome|
    it "claims the next epoch with auto_claim if the server closed the present one (#{outcome})" do
      producer = one_by_one(auto_claim: true)
      producer.append!(0)
      close_epoch(0, outcome)
      (1..4).each { |i| producer << i }
      producer.flush
      expect(producer).to have_attributes(epoch: 1, pending: 0)
      expect(stored).to eq([*0..4])
    end

    it "raises StaleEpochError without auto_claim if the server closed the epoch (#{outcome})" do
      producer = one_by_one
      producer.append!(0)
      close_epoch(0, outcome)
      error = failure { producer.append!(1) }
      expect(error).to be_a(DurableStreams::StaleEpochError)
      expect(error).to have_attributes(current_epoch: 0, undelivered: [1], outcome_unknown?: false,
                                       message: /epoch of the producer id is closed.*history was lost/)
      expect(stored).to eq([0])
    end
  end

  it "claims the next epoch before its first batch is stored, too" do
    producer = one_by_one(auto_claim: true, epoch: 7)
    close_epoch(7, "epoch-closed;by=history")
    expect(producer.append!(0)).to have_attributes(epoch: 8, seq: 0, duplicate?: false)
    expect(stored).to eq([0])
  end

  it "gives up if the server closes one epoch after the other" do
    producer = one_by_one(auto_claim: true)
    4.times { |epoch| close_epoch(epoch, "epoch-closed;by=claim") }
    error = failure { producer.append!(0) }
    expect(error).to be_a(DurableStreams::StaleEpochError).and have_attributes(current_epoch: 3, undelivered: [0])
  end

  [["a web page", { "content-type" => "text/html" }], ["nothing of the protocol", {}]].each do |what, headers|
    it "does not count a success with #{what} as a delivery" do
      producer = one_by_one
      faults.next("POST", path) { |reply| reply.respond(200, "<html>welcome</html>", **headers) }
      error = failure { producer.append!(0) }
      expect(error).to be_a(DurableStreams::FetchError)
      expect(error).to have_attributes(undelivered: [0], outcome_unknown?: true, status: 200)
    end
  end
end
