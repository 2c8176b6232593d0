# frozen_string_literal: true

on_each_server DurableStreams::Producer, "with another producer of the same id", :producer do
  describe "without auto_claim" do
    it "raises StaleEpochError with the undelivered messages" do
      producer = proxied(linger_ms: 60_000)
      producer.append!(1)
      fence(1)
      producer << 2 << { "three" => 3 }
      error = failure { producer.flush }
      expect(error).to be_a(DurableStreams::StaleEpochError)
      expect(error).to have_attributes(current_epoch: 1, undelivered: [2, { "three" => 3 }], status: 403)
      expect(stored).to eq([1, "rival"])
    end

    it "raises the same error from every later call" do
      producer = direct
      producer.append!(1)
      fence(3)
      producer << 2
      errors = [-> { producer.flush }, -> { producer << 3 }, -> { producer.append!(4) }, -> { producer.flush },
                -> { producer.close_stream }].map { |call| failure(&call) }
      expect(errors).to all(be_a(DurableStreams::StaleEpochError).and(have_attributes(undelivered: [2])))
      expect(producer.pending).to eq(1)
    end

    it "lists exactly the undelivered messages when several requests are in flight" do
      producer = proxied(linger_ms: 0, max_batch_items: 1)
      producer.append!(0)
      send_blocked(producer, [1, 2, 3], :requests)
      fence(1)
      # Later requests are blocked too: once one is rejected, append waits for the outcome of the others.
      3.times { block_append(:requests) }
      (4..6).each { |i| producer << i }
      faults.open(:requests)
      expect(failure { producer.flush }.undelivered).to eq((1..6).to_a)
      expect(stored).to eq([0, "rival"])
    end
  end

  describe "with auto_claim" do
    it "claims the next epoch and sends pending messages once and in order" do
      producer = proxied(linger_ms: 0, max_batch_items: 1, auto_claim: true)
      producer.append!(0)
      send_blocked(producer, [1, 2, 3, 4], :requests)
      fence(7)
      (5..8).each { |i| producer << i }
      faults.open(:requests)
      producer.flush
      expect(stored).to eq([0, "rival", *1..8])
      expect(producer).to have_attributes(epoch: 8, seq: 7, pending: 0)
    end

    it "continues after the epoch of an earlier run" do
      fence(41)
      producer = direct(auto_claim: true)
      expect(producer.append!(1)).to have_attributes(epoch: 42, seq: 0, duplicate?: false)
      expect(stored).to eq(["rival", 1])
    end

    it "fails and sends nothing again if a message may have been stored" do
      producer = proxied(linger_ms: 0, max_batch_items: 1, auto_claim: true)
      producer.append!(0)
      faults.next("POST", path) { |reply| reply.forward(server_url).signal(:stored).wait(:fenced).rst }
      producer << 1
      faults.wait_until_waiting(:fenced)
      fence(1)
      faults.open(:fenced)
      error = failure { producer.flush }
      expect(error).to be_a(DurableStreams::StaleEpochError)
      expect(error).to have_attributes(undelivered: [1], outcome_unknown?: true)
      expect(stored).to eq([0, 1, "rival"])
    end

    it "lets one of two producers with the same id continue and the other one fail" do
      one = direct(auto_claim: true)
      two = direct(auto_claim: true, epoch: 1)
      accepted = []
      error = failure do
        20.times do |i|
          [one, two].each do |producer|
            producer.append!(i)
            accepted << i
          end
        end
      end
      expect(error).to be_a(DurableStreams::StaleEpochError)
      loser, winner = [one, two].partition { |producer| producer.pending == 1 }.map(&:first)
      expect(error.undelivered).to eq([accepted.size / 2])
      expect { loser << 1 }.to raise_error(DurableStreams::StaleEpochError)
      winner.append!({ winner: 1 })
      expect(stored).to eq([*accepted, { "winner" => 1 }])
    end
  end
end
