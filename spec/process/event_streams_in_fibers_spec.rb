# frozen_string_literal: true

# Servers such as Falcon serve requests in non-blocking fibers of one thread.
if RUBY_VERSION >= "3.1"
  RSpec.describe DurableStreams::EventStream, "in fibers" do
    include_context "with a client of the fault server"

    let(:app) { described_class.app(heartbeat: 0.2) { client.stream("/s", content_type: :json) } }
    let(:env) { { "REQUEST_METHOD" => "GET", "QUERY_STRING" => "" } }

    # What a server passes to a body that it calls.
    let(:connection) do
      Class.new do
        attr_reader :parts, :closed

        def initialize(&left)
          @parts = []
          @written = Thread::Queue.new
          @left = left
        end

        def write(part)
          raise Errno::EPIPE if @left&.call(self)

          @parts << part
          @written << part
        end

        # Waits until one more part was written.
        def next_part
          @written.pop
        end

        def close
          @closed = true
        end
      end
    end

    before do
      faults.on { |reply| reply.read("[1]", next_offset: "1") }
      faults.on(nil, nil, query: { "live" => "sse" }) do |reply|
        reply.sse.control("1", up_to_date: true).wait("go").data("[2]").control("2", closed: true).finish
      end
    end

    it "lets other fibers run while it waits for the server and for the time of a comment" do
      browser = connection.new
      SmallScheduler.run do
        Fiber.schedule do
          _, _, body = app.call(env)
          expect(body).not_to respond_to(:each)
          body.call(browser)
        end
        Fiber.schedule do
          browser.next_part until browser.parts.count(":\n\n") >= 2
          faults.open("go")
        end
      end
      expect(browser.parts.join.delete_prefix(":\n\n").gsub(":\n\n", "").scan(/^data: (.*)/).flatten).to eq(%w[1 2 2])
      expect(browser.closed).to be(true)
    end

    it "closes its connection when the browser has left" do
      browser = connection.new { |this| this.parts.include?(":\n\n") }
      SmallScheduler.run do
        Fiber.schedule do
          app.call(env)[2].call(browser)
        rescue Errno::EPIPE
          nil
        end
      end
      expect(faults.wait_until_closed(by: :client)).to be_a(String).or be_a(Symbol)
      expect(browser.closed).to be(true)
    end

    it "serves many browsers in one thread" do
      browsers = Array.new(50) { connection.new }
      SmallScheduler.run do
        browsers.each { |browser| Fiber.schedule { app.call(env)[2].call(browser) } }
        Fiber.schedule do
          browsers.each(&:next_part)
          faults.open("go")
        end
      end
      expect(browsers.map { |browser| browser.parts.join.scan(/^data: (.*)/).flatten }).to all(eq(%w[1 2 2]))
    end
  end
end
