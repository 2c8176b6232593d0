# frozen_string_literal: true

require "timeout"

# With `exactly_once: true` appends carry the headers of a producer. So they are sent again after a lost response and
# after a 5xx, and a server stores them once.
RSpec.describe "Appends with exactly_once: true", :faults do
  let(:client) { fault_client(retries: { max_retries: 5, initial_delay: 0.001, max_delay: 5 }, exactly_once: true) }
  let(:stream) { client.stream("/s", content_type: :json) }

  def accept_appends
    faults.on("POST") { |reply| reply.respond(200, **FaultHelpers::OFFSET) }
  end

  # Makes the response to the next append wait until :go is opened.
  def hold_next
    faults.next("POST") { |reply| reply.wait(:go).respond(200, **FaultHelpers::OFFSET) }
  end

  # Starts an append in a new thread, and waits until it waits.
  def append(data, to: stream, **options)
    thread = in_thread { to.append(data, **options) }
    Thread.pass until thread.stop?
    thread
  end

  # Starts the append of 0, whose response waits until :go is opened. All later appends are accepted.
  def first_in_flight(to: stream)
    accept_appends
    hold_next
    append(0, to: to).tap { faults.wait_until_waiting(:go) }
  end

  # The producer id, the sequence number and the body of every append.
  def sent
    faults.requests(method: "POST").map do |request|
      expect(request.header("producer-epoch")).to eq("0")
      [request.header("producer-id"), Integer(request.header("producer-seq")), request.body]
    end
  end

  def numbers
    sent.map { |_, number, body| [number, body] }
  end

  def ids
    sent.map(&:first).uniq
  end

  def appended
    have_attributes(class: DurableStreams::AppendResult, next_offset: "7")
  end

  describe "on a real server" do
    let(:path) { unique_path }
    let(:stream) { client.stream(path) }
    let(:stored) { DurableStreams::Client.new(base_url: server_url).stream(path) }

    before do
      stored.create(content_type: :json)
      faults.proxy(server_url)
    end

    losses = {
      "before it is stored" => { "a lost response" => :rst.to_proc, "a 503" => ->(reply) { reply.respond(503) } },
      "after it is stored" => {
        "a lost response" => ->(reply) { reply.forward(ServerHelpers.shared(:rust).url).rst },
        "a 503" => ->(reply) { reply.forward(ServerHelpers.shared(:rust).url).respond(503) }
      }
    }
    losses.each do |moment, faults_of_moment|
      faults_of_moment.each do |name, script|
        it "store an append once after #{name} #{moment}" do
          2.times { faults.next("POST", &script) }
          expect(stream.append(1).duplicate?).to be(moment.start_with?("after"))
          expect(stream.append(2)).not_to be_duplicate
          expect(stored.read_all).to eq([1, 2])
        end

        it "store an append with a seq once after #{name} #{moment}" do
          faults.next("POST", &script)
          stream.append(1, seq: "a")
          expect { stream.append(2, seq: "a") }.to raise_error(DurableStreams::SeqConflictError) { |error|
            expect(error).not_to be_outcome_unknown
          }
          stream.append(3, seq: "b")
          expect(stored.read_all).to eq([1, 3])
        end

        it "close the stream with data once after #{name} #{moment}" do
          stream.append(1)
          faults.next("POST", &script)
          expect(stream.close_stream(data: 2).final_offset).to eq(stored.head.next_offset)
          expect(stored.read_all).to eq([1, 2])
          expect(stored.head).to be_closed
          expect { stream.append(3) }.to raise_error(DurableStreams::StreamClosedError)
        end
      end
    end

    it "close the stream with data, and find out where it ends if the last response does not say it" do
      upstream = server_url
      faults.next("POST") { |reply| reply.forward(upstream).rst }
      faults.next("POST") { |reply| reply.respond(204, "", "producer-epoch" => "0", "producer-seq" => "0") }
      expect(stream.close_stream(data: 1).final_offset).to eq(stored.head.next_offset)
    end

    it "close the stream with data although nobody says where it ends" do
      stream.append(1)
      upstream = server_url
      faults.next("POST") { |reply| reply.forward(upstream).rst }
      faults.next("POST") { |reply| reply.respond(204, "", "producer-epoch" => "0", "producer-seq" => "1") }
      faults.on("HEAD") { |reply| reply.respond(404) }
      expect(stream.close_stream(data: 2)).to eq(DurableStreams::CloseResult.new(final_offset: nil))
      expect(stored.read_all).to eq([1, 2])
      expect(stored.head).to be_closed
    end

    it "store the appends of many threads once, in the order of each thread, while many faults occur" do
      upstream = server_url
      faults.on("POST") { |reply| reply.forward(upstream).send_response }
      60.times do |n|
        faults.next("POST") do |reply|
          [-> { reply.rst }, -> { reply.forward(upstream).rst }, -> { reply.forward(upstream).respond(502) },
           -> { reply.retry_after(0) }, -> { reply.forward(upstream).send_response }][n % 5].call
        end
      end
      Array.new(8) { |thread| in_thread { 20.times { |n| stream.append([thread, n]) } } }.each do |thread|
        expect(thread.value).to eq(20)
      end
      items = stored.read_all
      expect(items.size).to eq(160)
      8.times { |thread| expect(items.select { |from, _| from == thread }.map(&:last)).to eq((0...20).to_a) }
    end
  end

  it "are numbered from 0 under an id of the handle, and cost no other request" do
    accept_appends
    3.times { |n| expect(stream.append(n)).to appended }
    expect(numbers).to eq([[0, "[0]"], [1, "[1]"], [2, "[2]"]])
    client.stream("/s", content_type: :json).append(3)
    expect(numbers.last).to eq([0, "[3]"])
    expect(ids.size).to eq(2)
    expect(faults.requests.map(&:verb)).to eq(["POST"] * 4)
  end

  it "share requests, one at a time" do
    first = first_in_flight
    rest = [append(1), append(2), append(3)]
    faults.open(:go)
    expect([first, *rest].map(&:value)).to all(appended)
    expect(numbers).to eq([[0, "[0]"], [1, "[1,2,3]"]])
    expect(ids.size).to eq(1)
  end

  it "have requests of their own with batching: false, one at a time" do
    alone = client.stream("/s", content_type: :json, batching: false)
    first = first_in_flight(to: alone)
    rest = [append(1, to: alone), append(2, to: alone), append(3, to: alone)]
    faults.open(:go)
    expect([first, *rest].map(&:value)).to all(appended)
    expect(numbers).to eq([[0, "[0]"], [1, "[1]"], [2, "[2]"], [3, "[3]"]])
    expect(ids.size).to eq(1)
  end

  it "have requests of their own with value callables, which each thread computes for its own" do
    accept_appends
    headers = { "X-By" => -> { Thread.current.name } }
    handle = client.stream("/s", content_type: :json, headers: headers)
    threads = Array.new(4) do |index|
      in_thread do
        Thread.current.name = "thread-#{index}"
        10.times { handle.append(index) }
      end
    end
    expect(threads.map(&:value)).to all(eq(10))
    by = faults.requests.map { |request| [request.header("X-By"), request.body] }
    expect(by.uniq).to match_array(Array.new(4) { |index| ["thread-#{index}", "[#{index}]"] })
    expect(by.size).to eq(40)
  end

  it "compute values for every try" do
    faults.next("POST", &:rst)
    accept_appends
    count = 0
    client.stream("/s", content_type: :json, headers: { "X-Count" => -> { (count += 1).to_s } }).append(1)
    expect(faults.requests.map { |request| request.header("X-Count") }).to eq(%w[1 2])
    expect(numbers).to eq([[0, "[1]"]] * 2)
  end

  it "have another id if a value callable makes them" do
    accept_appends
    runs = 0
    handle = nil
    compute = lambda do
      runs += 1
      case runs
      when 1 then handle.append(["same thread"])
      when 3 then Thread.new { handle.append(["other thread"]) }.value
      end
      "x"
    end
    handle = client.stream("/s", content_type: :json, headers: { "X" => compute })
    2.times { |n| expect(Timeout.timeout(FaultServer::TIMEOUT) { handle.append(n) }).to appended }
    expect(sent.map(&:last)).to eq(['[["same thread"]]', "[0]", '[["other thread"]]', "[1]"])
    expect(ids.size).to eq(2)
  end

  [true, false].each do |exactly_once|
    it "do not wait for a request that waits for trusted_origins, if that makes them (exactly_once: #{exactly_once})" do
      handle = nil
      trusts = ->(_) { handle.append("1").next_offset == "7" }
      handle = fault_client(trusted_origins: trusts).stream("/s", content_type: :json, exactly_once: exactly_once)
      first = first_in_flight(to: handle)
      elsewhere = faults.url("/s").sub("127.0.0.1", "localhost")
      faults.next("POST") { |reply| reply.redirect(elsewhere) }
      second = append(2, to: handle)
      faults.open(:go)
      expect([first, second].map { |thread| thread.join(FaultServer::TIMEOUT)&.value }).to all(appended)
      expect(faults.requests.map(&:body)).to eq(["[0]", "[2]", "[1]", "[2]"])
    end
  end

  it "remain in a request that may be stored when their callers are interrupted" do
    first = first_in_flight
    rest = [append(1), append(2), append(3)]
    faults.next("POST") { |reply| reply.wait(:lost).rst }
    rest.first.kill.join
    faults.open(:go)
    faults.wait_until_waiting(:lost)
    rest[1].raise(Timeout::Error, "enough")
    expect(rest[1].value).to be_a(Timeout::Error)
    faults.open(:lost)
    expect([first, rest.last].map(&:value)).to all(appended)
    expect(numbers).to eq([[0, "[0]"], [1, "[2,3]"], [1, "[2,3]"]])
  end

  it "leave a request that was surely not stored when their callers are interrupted" do
    first = first_in_flight
    rest = [append(1), append(2)]
    faults.next("POST") { |reply| reply.retry_after(1) }
    faults.open(:go)
    faults.wait_until_responded(2)
    rest.first.kill.join
    expect([first, rest.last].map(&:value)).to all(appended)
    expect(numbers).to eq([[0, "[0]"], [1, "[1,2]"], [1, "[2]"]])
  end

  it "are followed by appends under a new id when they are interrupted alone" do
    interrupted = first_in_flight
    interrupted.raise(Timeout::Error, "enough")
    expect(interrupted.value).to be_a(Timeout::Error)
    expect(stream.append(1)).to appended
    expect(numbers).to eq([[0, "[0]"], [0, "[1]"]])
    expect(ids.size).to eq(2)
  end

  it "raise after the last try, with an unknown outcome, and go on under a new id" do
    accept_appends
    6.times { faults.next("POST", &:rst) }
    expect { stream.append(1) }.to raise_error(DurableStreams::ConnectionError) { |error|
      expect(error).to have_attributes(outcome_unknown?: true, attempts: 6, retryable?: false)
      expect(error.message).not_to include("exactly_once")
    }
    expect(stream.append(2)).to appended
    expect(numbers).to eq(([[0, "[1]"]] * 6) + [[0, "[2]"]])
    expect(ids.size).to eq(2)
  end

  it "use the number again after a rejection" do
    accept_appends
    faults.next("POST") { |reply| reply.respond(404) }
    expect { stream.append(1) }.to raise_error(DurableStreams::StreamNotFoundError)
    expect(stream.append(2)).to appended
    expect(numbers).to eq([[0, "[1]"], [0, "[2]"]])
    expect(ids.size).to eq(1)
  end

  it "are sent under a new id if the server has forgotten the id" do
    accept_appends
    stream.append(1)
    faults.next("POST") do |reply|
      reply.respond(409, "producer-expected-seq" => "0", "producer-received-seq" => "1")
    end
    expect(stream.append(2)).to appended
    expect(numbers).to eq([[0, "[1]"], [1, "[2]"], [0, "[2]"]])
    expect(ids.size).to eq(2)
  end

  it "raise StaleEpochError if another producer has claimed the id, and go on under a new one" do
    accept_appends
    faults.next("POST") { |reply| reply.respond(403, "producer-epoch" => "3") }
    expect { stream.append(1) }.to raise_error(DurableStreams::StaleEpochError) { |error|
      expect(error).to have_attributes(current_epoch: 3, outcome_unknown?: false)
    }
    expect(stream.append(2)).to appended
    expect(ids.size).to eq(2)
  end

  it "have an id of its own in each process" do
    accept_appends
    stream.append(1)
    ChildProcess.run { stream.append(2) && nil }
    stream.append(3)
    expect(numbers).to eq([[0, "[1]"], [0, "[2]"], [1, "[3]"]])
    expect(sent.map(&:first)).to match([ids[0], ids[1], ids[0]])
    expect(ids.size).to eq(2)
  end

  describe "as a setting" do
    def numbered?(stream)
      accept_appends
      stream.append(1)
      !faults.requests(method: "POST").last.header("producer-id").nil?
    end

    it "is off by default, and on for a client, a stream, a context or the whole process" do
      plain = fault_client
      expect(numbered?(plain.stream("/s", content_type: :json))).to be(false)
      expect(numbered?(plain.stream("/s", content_type: :json, exactly_once: true))).to be(true)
      expect(numbered?(stream)).to be(true)
      url = faults.url("/s")
      context = DurableStreams.new_context { |config| config.exactly_once = true }
      expect(numbered?(DurableStreams.stream(url, content_type: :json, context: context))).to be(true)
      DurableStreams.configure { |config| config.exactly_once = true }
      expect(numbered?(DurableStreams.stream(url, content_type: :json))).to be(true)
    ensure
      DurableStreams.reset_configuration!
    end

    it "of a stream overrides the client's, and applies to its forks" do
      expect(numbered?(client.stream("/s", content_type: :json, exactly_once: false))).to be(false)
      expect(numbered?(client.stream("/s", content_type: :json, exactly_once: nil))).to be(true)
      %w[PUT HEAD].each do |verb|
        faults.on(verb) { |reply| reply.respond(200, **FaultHelpers::OFFSET, **FaultHelpers::JSON_TYPE) }
      end
      expect(numbered?(client.create("/s", content_type: :json, exactly_once: false))).to be(false)
      plain = fault_client
      expect(numbered?(plain.stream("/s", content_type: :json, exactly_once: true).fork("/t"))).to be(true)
    end

    it "changes nothing about requests without data" do
      faults.on("POST") { |reply| reply.respond(204, **FaultHelpers::OFFSET) }
      stream.close_stream
      expect(faults.requests.last.header("producer-id")).to be_nil
    end
  end
end
