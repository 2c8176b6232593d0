# frozen_string_literal: true

# Tokens that expire, and secrets that must not be shown.
RSpec.describe "Credentials", :faults do
  describe "a rejected request" do
    let(:tokens) { [] }
    let(:token) { -> { tokens.push(tokens.size + 1).last.to_s } }

    def stream
      @stream ||= fault_client(headers: { "Authorization" => token }).stream("/s", content_type: :json)
    end

    [401, 403].each do |status|
      FaultReads::MODES.each do |mode|
        it "runs value callables once more after a #{status} (read live: :#{mode})" do
          serve_numbers_for(mode)
          [FaultReads::FIRST, FaultReads::SECOND].each do |queries|
            faults.next("GET", nil, query: queries[mode]) { |reply| reply.respond(status) }
          end
          expect(stream.read_json(live: mode).each.to_a).to eq([1, 2, 3])
          expect(faults.requests.map { |request| request.header("authorization") }).to eq(%w[1 2 3 4])
        end

        it "raises if the server responds #{status} to the new values too (read live: :#{mode})" do
          faults.on("GET") { |reply| reply.respond(status) }
          error = status == 401 ? DurableStreams::UnauthorizedError : DurableStreams::ForbiddenError
          expect { stream.read_json(live: mode).each.to_a }.to raise_error(error)
          expect(faults.requests.size).to eq(2)
        end
      end

      it "runs value callables once more after a #{status} (head)" do
        faults.next("HEAD") { |reply| reply.respond(status) }
        faults.on("HEAD") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
        expect(stream.head.next_offset).to eq("7")
      end

      it "is not retried after a #{status} if it is a write" do
        faults.on("POST") { |reply| reply.respond(status) }
        expect { stream.append(1) }.to raise_error(DurableStreams::DurableStreamError)
        expect(faults.requests.size).to eq(1)
      end

      it "is not retried after a #{status} without value callables" do
        faults.on("GET") { |reply| reply.respond(status) }
        fixed = fault_client(headers: { "Authorization" => "x" }).stream("/s", content_type: :json)
        expect { fixed.read.first }.to raise_error(DurableStreams::DurableStreamError)
        expect(faults.requests.size).to eq(1)
      end
    end

    it "runs value callables once more for every reconnect of a live read" do
      faults.on("GET") { |reply| reply.read("[]", next_offset: "0") }
      3.times do |n|
        faults.next("GET", nil, query: { "live" => "sse" }) { |reply| reply.respond(401) }
        faults.next("GET", nil, query: { "live" => "sse" }) do |reply|
          reply.sse.data("[#{n}]").control((n + 1).to_s, closed: n == 2).finish
        end
      end
      expect(stream.read_json(live: :auto).each.to_a).to eq([0, 1, 2])
    end
  end

  describe "value callables" do
    it "run for every HTTP request, retries included" do
      count = 0
      stream = fault_client(headers: { "X-N" => -> { (count += 1).to_s } }, params: { "p" => -> { "v#{count}" } })
               .stream("/s", content_type: :json)
      faults.next { |reply| reply.respond(503) }
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      stream.head
      stream.append(1)
      expect(faults.requests.map { |request| request.header("x-n") }).to eq(%w[1 2 3])
      expect(faults.requests.map { |request| request.params["p"] }).to eq(%w[v1 v2 v3])
    end

    it "may return whatever a fixed value may be" do
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
      values = ["text", :symbol, 1, 1.5, Rational(1, 2), true, false]
      values.each do |value|
        fault_stream(headers: { "X" => -> { value }, "Y" => value }, params: { "x" => -> { value }, "y" => value }).head
      end
      sent = faults.requests.map { |request| [request.header("x"), request.header("y"), *request.params.values] }
      expect(sent).to eq(values.map { |value| [value.to_s] * 4 })
    end

    it "are those of its source for a fork, unless it has its own" do
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET, **FaultHelpers::JSON_TYPE) }
      source = fault_client.stream("/s", headers: { "X" => -> { "1" } }, params: { "p" => -> { "2" } })
      [{}, { headers: {} }, { params: {} }].each { |own| source.fork("/fork", offset: "1", **own).head }
      sent = faults.requests(path: "/fork").map { |request| [request.header("x"), request.params["p"]] }
      expect(sent).to eq([%w[1 2], %w[1 2], [nil, "2"], [nil, "2"], ["1", nil], ["1", nil]])
      fault_client.stream("/fork", headers: { "X" => "3" }).create(forked_from: "/s")
      expect(faults.requests(method: "HEAD", path: "/s").map { |request| request.header("x") }).to eq(["3"])
    end

    it "end the call with the error that they raise" do
      error = Class.new(StandardError)
      stream = fault_client(headers: { "X" => -> { raise error, "no token today" } }).stream("/s", content_type: :json)
      [-> { stream.head }, -> { stream.append(1) }, -> { stream.read(live: :auto).first }].each do |call|
        expect(&call).to raise_error(error, "no token today")
      end
      expect(faults.requests).to be_empty
    end

    it "raise an error that names the header but not the value if they return an invalid value" do
      stream = fault_client(headers: { "X-Token" => -> { "s3cret\r\nX-Evil: 1" } }).stream("/s", content_type: :json)
      expect { stream.append(1) }.to raise_error(ArgumentError, /x-token.*CR, LF/i) { |e|
        expect(e.message).not_to include("s3cret")
      }
      expect(faults.requests).to be_empty
    end
  end

  describe "secrets" do
    let(:client) do
      fault_client(base_url: faults.url.sub("//", "//me:s3cret@"), timeout: 0.1,
                   headers: { "Authorization" => "Bearer s3cret", "X-Computed" => -> { "s3cret" } },
                   params: { "token" => "s3cret" })
    end
    let(:stream) { client.stream("/s?key=s3cret", content_type: :json) }

    # The error that the block raises, and its causes.
    def failures(&block)
      error = in_thread(&block).value
      expect(error).to be_a(StandardError)
      [error, *error.cause]
    end

    calls = FaultHelpers::REQUESTS.transform_values { |kind| ->(stream) { kind.send_on(stream) } }
    FaultReads::MODES.each { |mode| calls["read live: :#{mode}"] = ->(stream) { stream.read(live: mode).to_a } }
    broken = {
      "a 404" => ->(reply) { reply.respond(404, "no") }, "a reset" => lambda(&:rst),
      "garbage" => ->(reply) { reply.raw("what?\r\n\r\n").fin },
      "an invalid redirect" => ->(reply) { reply.redirect("ftp://me:s3cret@h/?s3cret") }
    }
    calls.each do |name, call|
      it "are in no error of #{name}" do
        broken.each_value do |script|
          faults.on(&script)
          failures { call.call(stream) }.each do |error|
            texts = [error.message, error.inspect, error.full_message, error.url.to_s]
            expect(texts.map(&:b).join).not_to include("s3cret")
          end
        end
        faults.refuse_connections
        failures { call.call(stream) }.each { |error| expect(error.full_message).not_to include("s3cret") }
        client.close
        failures { call.call(stream) }.each { |error| expect(error.full_message).not_to include("s3cret") }
      end
    end

    it "are in no result of inspect" do
      things = [client, client.context, client.context.config, client.subscriptions, stream, stream.read(live: :auto)]
      expect(things.map(&:inspect).join).not_to include("s3cret")
    end
  end
end
