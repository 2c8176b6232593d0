# frozen_string_literal: true

# A write whose first try may have been carried out, and whose next try is rejected.
RSpec.describe "A rejection after a try that may have been carried out", :faults do
  doubts = { "a 503" => ->(reply) { reply.retry_after(0, 503) }, "a lost response" => ->(reply) { reply.rst } }
  writes = FaultHelpers::REQUESTS.select { |_, kind| kind.verb != "HEAD" && kind.repeated }

  doubts.each do |doubt, script|
    writes.each do |name, kind|
      it "leaves the outcome of #{name} unknown after #{doubt}" do
        ([301, 400, 403, 404, 409, 410, 413] - (name == "delete" ? [404, 410] : [])).each do |status|
          faults.reset
          faults.next(kind.verb, &script)
          faults.on(kind.verb) { |reply| reply.respond(status, "", "location" => "/elsewhere") }
          expect { kind.send_on(fault_stream) }.to raise_error(DurableStreams::DurableStreamError) do |error|
            expect(error).to have_attributes(status: status, outcome_unknown?: true, attempts: 2)
            expect(error.message).to match(/outcome is unknown.*2 tries/)
          end
        end
      end
    end

    it "means that #{doubt} was a successful delete if the stream is not there any more" do
      [404, 410].each do |status|
        faults.reset
        faults.next("DELETE", &script)
        faults.on("DELETE") { |reply| reply.respond(status) }
        expect { fault_stream.delete }.not_to raise_error
      end
    end

    it "leaves nothing unknown about a read after #{doubt}" do
      [:head, ->(stream) { stream.read.first }].each do |read|
        faults.next(&script)
        faults.on { |reply| reply.respond(404) }
        expect { read.to_proc.call(fault_stream) }.to raise_error(DurableStreams::StreamNotFoundError) do |error|
          expect(error).not_to be_outcome_unknown
        end
      end
    end
  end
end
