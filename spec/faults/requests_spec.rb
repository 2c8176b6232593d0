# frozen_string_literal: true

# Every request that is not a read, while networks and servers fail.
RSpec.describe "Requests through faults", :faults do
  # The faults after which the client cannot know whether the server has processed the request.
  lost = {
    "is closed before the request is read" => lambda do |server, kind|
      server.next(kind.verb, nil, read_body: false, &:fin)
    end,
    "is reset before the request is read" => lambda do |server, kind|
      server.next(kind.verb, nil, read_body: false, &:rst)
    end,
    "is closed after the request was read" => ->(server, kind) { server.next(kind.verb, &:fin) },
    "is reset after the request was read" => ->(server, kind) { server.next(kind.verb, &:rst) },
    "is closed within the response's head" => lambda do |server, kind|
      server.next(kind.verb) { |reply| kind.respond_to(reply.cut(after: 20)) }
    end,
    "is reset within the response's head" => lambda do |server, kind|
      server.next(kind.verb) { |reply| kind.respond_to(reply.cut(after: 20, with: :rst)) }
    end,
    "delivers bytes that are not HTTP" => lambda do |server, kind|
      server.next(kind.verb) { |reply| reply.raw("SSH-2.0-OpenSSH_9.2\r\n\r\n").fin }
    end
  }

  FaultHelpers::REQUESTS.each do |name, kind|
    describe name do
      let(:stream) { fault_stream }

      def sent(kind)
        faults.requests(method: kind.verb).size
      end

      lost.each do |fault, script|
        if kind.repeated
          it "is sent again when the connection #{fault}" do
            faults.on(kind.verb) { |reply| kind.respond_to(reply) }
            script.call(faults, kind)
            expect(kind).to be_success(kind.send_on(stream))
            expect(faults.connections).to eq(2)
          end
        else
          it "is not sent twice when the connection #{fault}, and raises with an unknown outcome" do
            faults.on(kind.verb) { |reply| kind.respond_to(reply) }
            script.call(faults, kind)
            unknown = raise_error(DurableStreams::ConnectionError, /outcome is unknown/) do |error|
              expect(error).to have_attributes(outcome_unknown?: true, retryable?: false, code: "NETWORK_ERROR",
                                               status: nil, url: faults.url("/s"))
            end
            expect { kind.send_on(stream) }.to unknown
            expect(faults.connections).to eq(1)
            expect(sent(kind)).to be <= 1
          end
        end
      end

      %i[fin rst].each do |how|
        it "is sent at most once when the connection ends at once (#{how})" do
          faults.on(kind.verb) { |reply| kind.respond_to(reply) }
          faults.on_connect(&how)
          result = in_thread { kind.send_on(stream) }.value
          if kind.repeated || !result.is_a?(StandardError)
            expect(kind).to be_success(result)
          else
            expect(result).to be_a(DurableStreams::ConnectionError).and be_outcome_unknown
          end
          expect(sent(kind)).to be <= 1
        end
      end

      it "raises ConnectionError with a known outcome when connections are refused" do
        faults.refuse_connections
        expect { kind.send_on(stream) }.to raise_error(DurableStreams::ConnectionError, /refused/i) do |error|
          expect(error).to have_attributes(outcome_unknown?: false, retryable?: true, url: faults.url("/s"))
        end
      end

      it "is retried while connections are refused" do
        faults.on(kind.verb) { |reply| kind.respond_to(reply) }
        patient = fault_stream(retries: { max_retries: 1000, initial_delay: 0.005, max_delay: 0.01 })
        faults.refuse_connections
        call = in_thread { kind.send_on(patient) }
        expect(call.join(0.05)).to be_nil
        faults.accept_connections
        expect(kind).to be_success(call.value)
        expect(sent(kind)).to eq(1)
      end

      if %w[PUT POST].include?(kind.verb)
        it "sends Content-Length, also for an empty body" do
          faults.on(kind.verb) { |reply| kind.respond_to(reply) }
          kind.send_on(stream)
          request = faults.requests.first
          expect(request.headers.map(&:first).grep(/content-length|transfer-encoding/i)).to eq(["content-length"])
          expect(request.header("content-length")).to eq(request.body.bytesize.to_s)
        end
      end

      it "accepts a response that arrives byte by byte" do
        faults.on(kind.verb) { |reply| kind.respond_to(reply.pieces(1)) }
        expect(kind).to be_success(kind.send_on(stream))
      end

      # A response to DELETE with a body is not a server's.
      it "accepts a response with complete headers and a truncated body", unless: kind.verb == "DELETE" do
        status, headers = kind.reply
        faults.on(kind.verb) { |reply| reply.respond(status == 204 ? 200 : status, "ok", length: 10, **headers).fin }
        expect(kind).to be_success(kind.send_on(stream))
        expect(sent(kind)).to eq(1)
      end

      writes = kind.verb != "HEAD"

      it "raises TimeoutError without a response#{", with an unknown outcome" if writes}" do
        faults.on(kind.verb, &:hang)
        # Long enough to send the request on a busy machine. Otherwise its outcome would be known.
        hasty = fault_stream(timeout: 0.5, retries: { max_retries: 1, initial_delay: 0.001 })
        message = /no response within 0.5 s/
        tries = kind.repeated ? 2 : 1
        expect { kind.send_on(hasty) }.to raise_error(DurableStreams::TimeoutError, message) do |error|
          expect(error).to have_attributes(outcome_unknown?: writes, retryable?: kind.repeated, code: "TIMEOUT",
                                           attempts: tries, elapsed: (be >= 0.5 * tries))
        end
        faults.wait_for_request(tries, method: kind.verb) # It may not have arrived yet.
        expect(sent(kind)).to eq(tries)
      end

      if kind.repeated
        it "is retried after a 503" do
          faults.on(kind.verb, times: 2) { |reply| reply.respond(503) }
          faults.on(kind.verb) { |reply| kind.respond_to(reply) }
          expect(kind).to be_success(kind.send_on(stream))
          expect(sent(kind)).to eq(3)
        end

        it "raises FetchError when the server still responds 500 after the retries" do
          faults.on(kind.verb) { |reply| reply.respond(500, "out of order") }
          expect { kind.send_on(stream) }.to raise_error(DurableStreams::FetchError, /500.*3 tries in/) do |error|
            expect(error).to have_attributes(status: 500, code: "UNEXPECTED_STATUS", retryable?: true, attempts: 3,
                                             outcome_unknown?: writes)
          end
          expect(sent(kind)).to eq(3)
        end
      else
        it "is not sent again after a 5xx, because a gateway's 5xx does not say what the server did" do
          [500, 502, 503, 504].each do |status|
            faults.reset
            faults.next(kind.verb) { |reply| reply.retry_after(0) }
            faults.on(kind.verb) { |reply| reply.retry_after(0, status) }
            advice = /#{status}.*outcome is unknown.*Producer#append! and exactly_once: true/
            expect { kind.send_on(fault_stream) }.to raise_error(DurableStreams::FetchError, advice) do |error|
              expect(error).to have_attributes(status: status, retryable?: false, outcome_unknown?: true, attempts: 2)
            end
            expect(sent(kind)).to eq(2)
          end
        end
      end

      it "follows Retry-After, in seconds or as a date" do
        faults.next(kind.verb) { |reply| reply.retry_after(0) }
        faults.next(kind.verb) { |reply| reply.retry_after(Time.now - 5) }
        faults.on(kind.verb) { |reply| kind.respond_to(reply) }
        expect(kind).to be_success(kind.send_on(stream))
      end

      it "raises at once when Retry-After is longer than max_delay" do
        faults.on(kind.verb) { |reply| reply.retry_after(17) }
        expect { kind.send_on(stream) }.to raise_error(DurableStreams::RateLimitedError) do |error|
          expect(error).to have_attributes(status: 429, code: "RATE_LIMITED", retry_after: 17)
        end
        expect(sent(kind)).to eq(1)
      end
    end
  end

  describe "the connection of a POST" do
    it "is replaced if it was closed while idle, and the POST is sent at most once" do
      faults.on("HEAD") { |reply| reply.respond(200, **FaultHelpers::OFFSET).fin }
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      stream = fault_stream
      outcomes = Array.new(20) do
        before = faults.requests(method: "POST").size
        stream.head
        outcome = begin
          stream.append(1)
          :stored
        rescue DurableStreams::ConnectionError => e
          e.outcome_unknown? ? :unknown : :unsent
        end
        sent = faults.requests(method: "POST").size - before
        expect(sent).to outcome == :stored ? eq(1) : (be <= 1)
        outcome
      end
      expect(outcomes).to include(:stored)
    end

    it "is replaced without an error if the request may be sent again" do
      faults.on { |reply| reply.respond(200, **FaultHelpers::OFFSET).fin }
      stream = fault_stream
      expect(Array.new(20) { stream.head.next_offset }).to all(eq("7"))
    end

    it "is used again" do
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      stream = fault_stream
      5.times { stream.append(1) }
      expect(faults.connections).to eq(1)
    end
  end

  it "parse Stream-Expires-At as an RFC 3339 time" do
    moment = Time.at(4_000_000_000, 250, :millisecond)
    { "2096-10-02T07:06:40.25Z" => 0, "2096-10-02t07:06:40.250000z" => 0, "2096-10-02T12:36:40.25+05:30" => 19_800,
      "2096-10-02 00:06:40.25-07:00" => -25_200 }.each do |text, utc_offset|
      faults.on { |reply| reply.respond(200, "stream-expires-at" => text, **FaultHelpers::OFFSET) }
      expect(fault_stream.head.expires_at).to eq(moment).and have_attributes(utc_offset: utc_offset)
    end
    %w[2096-13-02T07:06:40Z soon].each do |text|
      faults.on { |reply| reply.respond(200, "stream-expires-at" => text, **FaultHelpers::OFFSET) }
      expect { fault_stream.head }.to raise_error(DurableStreams::ParseError, /Stream-Expires-At.*#{text}/)
    end
  end

  describe "a large upload" do
    let(:data) { "x" * 16_000_000 }

    it "may take longer than the timeout while it makes progress" do
      faults.on("POST", nil, read_body: false) do |reply|
        reply.delay(3.3).read_body.respond(204, **FaultHelpers::OFFSET)
      end
      stream = fault_stream(type: :bytes, timeout: 3)
      expect(stream.append(data).next_offset).to eq("7")
    end

    it "raises TimeoutError when the server stops reading" do
      faults.on("POST", nil, read_body: false, &:hang)
      stream = fault_stream(type: :bytes, timeout: 0.5)
      expect { stream.append(data) }.to raise_error(DurableStreams::TimeoutError) do |error|
        expect(error).to be_outcome_unknown
      end
    end

    it "may get its response before the server has read it" do
      faults.on("POST", nil, read_body: false) do |reply|
        reply.respond(413, "too much", "connection" => "close").read_body.fin
      end
      expect { fault_stream(type: :bytes).append(data) }.to raise_error(DurableStreams::PayloadTooLargeError)
    end
  end

  describe "a host that accepts no connections" do
    # A listener whose queue is full: the operating system does not respond to further SYNs.
    let(:listener) do
      Socket.new(:INET, :STREAM).tap do |socket|
        socket.bind(Addrinfo.tcp("127.0.0.1", 0))
        socket.listen(0)
      end
    end
    let(:port) { listener.local_address.ip_port }

    before do
      @fillers = Array.new(4) do
        Socket.new(:INET, :STREAM).tap { |socket| socket.connect_nonblock(listener.local_address, exception: false) }
      end
    end

    after { [listener, *@fillers].each(&:close) }

    it "raises TimeoutError with a known outcome, because nothing was sent" do
      stream = fault_stream(base_url: "http://127.0.0.1:#{port}", timeout: 0.1, retries: { max_retries: 1 })
      expect { stream.append(1) }.to raise_error(DurableStreams::TimeoutError) do |error|
        expect(error).not_to be_outcome_unknown
      end
    end
  end
end
