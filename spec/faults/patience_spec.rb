# frozen_string_literal: true

# How long live reads, producers and appends with `exactly_once: true` retry: until their first success by the policy;
# after it by a policy of their own, by the client's, or without limit of number if nobody has chosen one.
RSpec.describe "Patience", :faults do
  # Its policy allows two retries, without anybody having chosen it.
  def patient(**options)
    allow(DurableStreams::RetryPolicy).to receive(:default)
      .and_return(DurableStreams::RetryPolicy.new(**FaultHelpers::QUICK).freeze)
    DurableStreams.reset_configuration!
    client = DurableStreams::Client.new(base_url: faults.url, **options).tap { |made| clients << made }
    client.stream("/s", content_type: :json)
  end

  # Its policy is the same, chosen by the user.
  def limited
    fault_stream
  end

  # After the example's stubs have ended. An `after` hook still sees them, and would leave their policy to others.
  around do |example|
    example.run
  ensure
    DurableStreams.reset_configuration!
  end

  def policy(max_retries)
    DurableStreams::RetryPolicy.new(**FaultHelpers::QUICK, max_retries: max_retries)
  end

  describe "of a live read" do
    # Serves one message, then failures, then the rest of the stream.
    def serve(failures)
      faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
      faults.on("GET", times: failures) { |reply| reply.respond(503) }
      faults.next("GET") { |reply| reply.read("[2]", next_offset: "2", closed: true) }
    end

    it "has no limit after the first success if nobody has chosen a policy" do
      serve(12)
      expect(patient.read_json(live: :long_poll).to_a).to eq([1, 2])
    end

    it "goes on after a break" do
      faults.next("GET") { |reply| reply.read("[1,2]", next_offset: "1") }
      faults.on("GET", times: 12) { |reply| reply.respond(503) }
      faults.on("GET") { |reply| reply.read("[3]", next_offset: "2", closed: true) }
      reader = patient.read_json(live: :long_poll)
      expect(reader.first(2) + reader.to_a).to eq([1, 2, 3])
    end

    it "follows the policy until the first success" do
      faults.on("GET") { |reply| reply.respond(503) }
      expect { patient.read_json(live: :long_poll).first }.to raise_error(DurableStreams::FetchError) do |error|
        expect(error).to have_attributes(attempts: 3, elapsed: (be > 0), outcome_unknown?: false)
        expect(error.message).to match(/503.*3 tries in/)
      end
    end

    it "follows the client's policy" do
      serve(3)
      expect { limited.read_json(live: :long_poll).to_a }.to raise_error(DurableStreams::FetchError, /3 tries/)
    end

    it "follows its own policy, whatever the client's is" do
      %i[patient limited].each do |kind|
        %i[read read_json read_bytes].each do |read|
          faults.reset
          stream = public_send(kind)
          serve(5)
          options = { live: :long_poll, retry_policy: policy(4) }
          expect { stream.public_send(read, **options).each_batch.to_a }.to raise_error(/5 tries/)
          faults.reset
          stream = public_send(kind)
          serve(5)
          reader = stream.public_send(read, live: :long_poll, retry_policy: policy(5))
          expect(reader.each_batch.map(&:next_offset)).to eq(%w[1 2])
        end
      end
    end

    it "does not retry what a retry cannot help" do
      faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
      faults.on("GET") { |reply| reply.respond(404) }
      expect { patient.read_json(live: :long_poll).to_a }.to raise_error(DurableStreams::StreamNotFoundError) do |error|
        expect(error.attempts).to eq(1)
      end
    end

    it "is not that of a read that ends at the tail" do
      faults.next("GET") { |reply| reply.read("[1]", next_offset: "1", up_to_date: false) }
      faults.on("GET") { |reply| reply.respond(503) }
      expect { patient.read_json.to_a }.to raise_error(DurableStreams::FetchError, /3 tries/)
    end

    it "ends when the reader is closed" do
      faults.next("GET") { |reply| reply.read("[1]", next_offset: "1") }
      faults.on("GET") { |reply| reply.respond(503) }
      reader = patient.read_json(live: :long_poll)
      reading = in_thread { reader.to_a }
      faults.wait_for_request(5)
      reader.close
      expect(reading.value).to eq([1])
    end
  end

  describe "of a producer" do
    # Accepts the first batch, fails the next requests and accepts the rest.
    def serve(failures)
      faults.on("HEAD") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      faults.next("POST") { |reply| accept(reply) }
      faults.on("POST", times: failures) { |reply| reply.respond(503) } if failures.positive?
      faults.on("POST") { |reply| accept(reply) }
    end

    def accept(reply)
      reply.respond(200, **FaultHelpers::OFFSET)
    end

    def produce(stream, **options)
      DurableStreams::Producer.new(stream: stream, producer_id: "p", **options).tap { |producer| producer.append!(1) }
    end

    def sequence_numbers
      faults.requests(method: "POST").map { |request| Integer(request.header("producer-seq")) }
    end

    it "has no limit of number after the first success if nobody has chosen a policy" do
      serve(12)
      producer = produce(patient)
      expect(producer.append!(2).seq).to eq(1)
      expect(sequence_numbers).to eq([0, *[1] * 13])
      producer.close
    end

    it "follows the policy until the first success" do
      faults.on("HEAD") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      faults.on("POST") { |reply| reply.respond(503) }
      expect { produce(patient) }.to raise_error(DurableStreams::ProducerError, /503.*3 tries in/) do |error|
        expect(error).to have_attributes(attempts: 3, undelivered: [1], outcome_unknown?: true)
      end
    end

    it "follows the client's policy, and its own before that" do
      serve(5)
      expect { produce(limited).append!(2) }.to raise_error(DurableStreams::ProducerError, /3 tries/)
      faults.reset
      serve(5)
      expect { produce(patient, retry_policy: policy(4)).append!(2) }.to raise_error(/5 tries/)
      faults.reset
      serve(5)
      expect(produce(limited, retry_policy: policy(5)).append!(2).seq).to eq(1)
    end

    it "ends when a batch is not acknowledged within delivery_timeout, with any policy" do
      { patient: nil, limited: policy(1_000_000) }.each do |kind, retry_policy|
        faults.reset
        stream = public_send(kind)
        serve(1_000_000)
        producer = produce(stream, retry_policy: retry_policy, delivery_timeout: 0.4)
        producer.append(2)
        expect { producer.append!(3) }.to raise_error(DurableStreams::ProducerError) do |error|
          expect(error).to have_attributes(undelivered: [2, 3], elapsed: (be >= 0.4), attempts: (be > 3))
        end
      end
    end
  end

  describe "of an append with exactly_once: true" do
    def fail_and_recover(failures)
      faults.on("POST", times: failures) { |reply| reply.respond(503) } if failures.positive?
      faults.on("POST") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
    end

    it "has no limit of number after the first success if nobody has chosen a policy" do
      stream = patient(exactly_once: true)
      fail_and_recover(2)
      expect(stream.append(1).next_offset).to eq("7")
      fail_and_recover(12)
      expect(stream.append(2).next_offset).to eq("7")
      expect(faults.requests.map(&:body)).to eq((["[1]"] * 3) + (["[2]"] * 13))
    end

    it "follows the policy until the first success" do
      stream = patient(exactly_once: true)
      fail_and_recover(3)
      expect { stream.append(1) }.to raise_error(DurableStreams::FetchError, /3 tries/)
      expect(stream.append(2).next_offset).to eq("7")
    end

    it "follows the client's policy" do
      stream = fault_client(exactly_once: true).stream("/s", content_type: :json)
      fail_and_recover(0)
      stream.append(1)
      fail_and_recover(3)
      expect { stream.append(2) }.to raise_error(DurableStreams::FetchError, /3 tries/)
    end
  end
end
