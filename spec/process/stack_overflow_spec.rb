# frozen_string_literal: true

# Ruby raises SystemStackError from a signal handler, wherever the stack ends. Native code that it interrupts cannot put
# anything in order, and may not have Ruby's lock.
RSpec.describe "A stack that overflows", :faults do
  calls = { "an append" => "stream.append(1)", "a head" => "stream.head", "a read" => "stream.read_json.to_a" }
  calls.each do |name, call|
    it "raises SystemStackError around #{name} in a thread, which then works as before" do
      faults.on do |reply|
        reply.respond(200, "[1]", **FaultHelpers::JSON_TYPE, **FaultHelpers::OFFSET, "stream-up-to-date" => "true")
      end
      ended = ChildProcess.program(<<~RUBY, faults.url)
        stream = DurableStreams::Client.new(base_url: ARGV[0]).stream("/s", content_type: :json)
        def at(depth, &block) = depth.zero? ? block.call : [1].each { at(depth - 1, &block) }
        Thread.new do
          limit = 100
          begin
            loop { at(limit += 50) { nil } }
          rescue SystemStackError
            nil
          end
          overflows = (limit - 300).step(limit, 3).count do |depth|
            at(depth) { #{call} }
            false
          rescue SystemStackError
            true
          end
          #{call}
          puts overflows.positive?
        end.join
      RUBY
      expect(ended.output).to eq("true\n")
    end
  end
end
