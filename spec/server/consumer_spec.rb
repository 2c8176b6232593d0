# frozen_string_literal: true

require "tmpdir"

on_each_server DurableStreams::Consumer do
  let(:client) { DurableStreams::Client.new(base_url: server_url) }
  let(:stream) { client.create(unique_path("consumer"), content_type: :json) }
  let(:checkpoint) { DurableStreams::Checkpoint::Memory.new }

  after { client.close }

  def consumer(**options)
    described_class.new(stream, checkpoint: checkpoint, **options)
  end

  # Runs a consumer to the end of the data.
  # @return [Array] the items that it got
  def consumed(**options)
    items = []
    consumer(live: :off, **options).run { |batch| items.concat(batch.items) }
    items
  end

  def append(*items)
    items.each { |item| stream.append(item) }
    stream.head.next_offset
  end

  it "begins at the beginning, and continues at the checkpoint" do
    saved = append(1, 2)
    expect(consumed).to eq([1, 2])
    expect(checkpoint.load).to eq(saved)
    expect(consumed).to eq([])
    append(3)
    expect(consumed).to eq([3])
  end

  it "begins where the checkpoint says, for example at the end" do
    append(1)
    checkpoint.save("now")
    expect(consumed).to eq([])
    append(2)
    expect(consumed).to eq([2])
  end

  it "saves after the block, for each batch" do
    append(1)
    seen = []
    consumer(live: :long_poll).run do |batch|
      seen << [batch.items, checkpoint.load]
      append(2) if batch.items == [1]
      stream.close_stream if batch.items == [2]
    end
    expect(seen.map(&:first)).to eq([[1], [2]])
    expect(seen.map(&:last)).to match([nil, a_string_matching(/\d/)])
    expect(checkpoint.load).to eq(stream.head.next_offset)
  end

  %i[auto sse long_poll].each do |live|
    it "follows the stream with live: #{live.inspect} until it is closed" do
      append(1)
      items = []
      result = consumer(live: live).run do |batch|
        items.concat(batch.items)
        batch.items.last < 3 ? append(batch.items.last + 1) : stream.close_stream
      end
      expect([result, items]).to eq([:closed, [1, 2, 3]])
      expect(consumer.run { raise "nothing is left" }).to eq(:closed)
    end
  end

  it "ends with live: :off when it has caught up" do
    append(1)
    made = consumer(live: :off)
    expect(made.run { nil }).to eq(:up_to_date)
    expect(made).not_to be_stopped
  end

  it "may run again after its end" do
    made = consumer(live: :off)
    items = []
    [1, 2].each do |item|
      append(item)
      made.run { |batch| items.concat(batch.items) }
    end
    expect(items).to eq([1, 2])
  end

  it "yields the chunks of a byte stream, and of a text stream" do
    { bytes: "\xFF".b, text: "ä" }.each do |type, data|
      bytes = client.create(unique_path, content_type: type)
      bytes.append(data)
      bytes.close_stream
      chunks = []
      made = described_class.new(bytes, checkpoint: DurableStreams::Checkpoint::Memory.new)
      expect(made.run { |chunk| chunks << chunk.data }).to eq(:closed)
      expect(chunks).to eq([data])
    end
  end

  it "yields batches whatever each_yields says" do
    items = DurableStreams.new_context { |config| config.each_yields = :items }
    append(1)
    batches = []
    described_class.new(DurableStreams::Stream.new(stream.url, context: items), checkpoint: checkpoint, live: :off)
                   .run { |batch| batches << batch }
    expect(batches).to match([an_instance_of(DurableStreams::JsonBatch)])
  end

  it "does not yield batches without data, but saves their offset if it is a new one" do
    yielded = 0
    made = consumer(live: :long_poll)
    saves = []
    checkpoint.define_singleton_method(:save) do |offset|
      saves << offset
      made.stop
      super(offset)
    end
    expect(made.run { yielded += 1 }).to eq(:stopped)
    expect(yielded).to eq(0)
    expect(saves).to eq([stream.head.next_offset])
    checkpoint.singleton_class.remove_method(:save)
    append(1)
    expect(consumed).to eq([1])
  end

  it "does not save an offset again" do
    checkpoint.save(append(1))
    checkpoint.define_singleton_method(:save) { |_| raise "saved already" }
    expect(consumer(live: :off).run { raise "nothing is new" }).to eq(:up_to_date)
  end

  it "says whether it has caught up" do
    made = consumer(live: :off)
    caught_up = [made.up_to_date?]
    2.times do
      append(1)
      made.run { caught_up << made.up_to_date? }
      caught_up << made.up_to_date?
    end
    expect(caught_up).to eq([false, false, true, false, true])
  end

  it "has not caught up while its block has a later batch" do
    append(1)
    made = consumer(live: :long_poll)
    caught_up = []
    made.run do |batch|
      caught_up << made.up_to_date?
      batch.items == [1] ? append(2) : made.stop
    end
    expect(caught_up).to eq([false, false])
  end

  describe "whose block fails" do
    before { append(1) }

    let(:failure) { Class.new(StandardError) }

    it "raises, and saves nothing" do
      expect { consumer.run { raise failure, "oh" } }.to raise_error(failure, "oh")
      expect(checkpoint.load).to be_nil
      expect(consumed).to eq([1])
    end

    it "runs the block again if on_error returns :retry" do
      given = []
      on_error = lambda do |error, batch|
        given << [error.message, batch.items]
        :retry
      end
      tries = 0
      consumer(live: :off, on_error: on_error).run { raise failure, "try #{tries}" if (tries += 1) < 4 }
      expect(given).to eq([["try 1", [1]], ["try 2", [1]], ["try 3", [1]]])
      expect(checkpoint.load).to eq(stream.head.next_offset)
    end

    it "saves past the batch if on_error returns :skip" do
      consumer(live: :off, on_error: ->(*) { :skip }).run { raise failure }
      expect(checkpoint.load).to eq(stream.head.next_offset)
      append(2)
      expect(consumed).to eq([2])
    end

    it "stops without saving if on_error returns :stop" do
      made = consumer(on_error: ->(*) { :stop })
      expect(made.run { raise failure }).to eq(:stopped)
      expect(made).to be_stopped
      expect(checkpoint.load).to be_nil
    end

    it "returns :stopped after a :stop at the end of a closed stream, too" do
      stream.close_stream
      made = consumer(on_error: ->(*) { :stop })
      expect(made.run { raise failure }).to eq(:stopped)
      expect(consumed).to eq([1])
    end

    it "raises ArgumentError if on_error returns anything else" do
      { nil => "nil", true => "true", "retry" => '"retry" (String)' }.each do |decision, shown|
        message = "on_error must return :retry, :skip or :stop, got #{shown}"
        expect { consumer(on_error: ->(*) { decision }).run { raise failure } }
          .to raise_error(ArgumentError, message) { |error| expect(error.cause).to be_a(failure) }
        expect(checkpoint.load).to be_nil
      end
    end

    it "raises what on_error raises" do
      other = Class.new(StandardError)
      expect { consumer(on_error: ->(*) { raise other }).run { raise failure } }.to raise_error(other)
      expect(checkpoint.load).to be_nil
    end

    it "calls on_error only for StandardErrors" do
      [NotImplementedError, Interrupt, NoMemoryError].each do |error|
        expect { consumer(on_error: ->(*) { :skip }).run { raise error } }.to raise_error(error)
      end
      expect(checkpoint.load).to be_nil
    end

    it "raises a CheckpointError of the block, whatever on_error says" do
      expect { consumer(on_error: ->(*) { :skip }).run { raise DurableStreams::CheckpointError } }
        .to raise_error(DurableStreams::CheckpointError)
      expect(checkpoint.load).to be_nil
    end
  end

  # Runs a consumer whose block fails `failures` times for each of the batches.
  # @return [Array<Array<Float>>] the pauses before its tries, for each batch
  def pauses(failures, batches: 1, **policy)
    append(1)
    begun = Hash.new { |hash, items| hash[items] = [] }
    made = consumer_with_policy(**policy)
    made.run do |batch|
      begun[batch.items] << now
      raise "again" if begun[batch.items].size <= failures

      begun.size == batches ? made.stop : append(2)
    end
    begun.values.map { |times| times.each_cons(2).map { |before, after| after - before } }
  end

  # A consumer that always retries. Yields each error.
  def consumer_with_policy(**policy)
    policy = DurableStreams::RetryPolicy.new(**policy)
    context = DurableStreams.new_context { |config| config.retry_policy = policy }
    on_error = lambda do |error, _|
      yield error if block_given?
      :retry
    end
    handle = DurableStreams::Stream.new(stream.url, context: context)
    described_class.new(handle, checkpoint: checkpoint, on_error: on_error)
  end

  it "pauses longer after each failure, and begins anew for the next batch" do
    first, second = pauses(3, batches: 2, initial_delay: 0.02, multiplier: 6, max_delay: 1_000)
    [first, second].each { |three| three.zip([0.01, 0.06, 0.36]).each { |pause, least| expect(pause).to be >= least } }
    expect(second.first).to be < 0.02 * (6**3) / 2 # What it would be after the failures of the first batch.
  end

  it "pauses for at most the policy's max_delay" do
    expect(pauses(1_000, initial_delay: 0.0001, multiplier: 1_000, max_delay: 0.0001).first.sum).to be < AtOnce::SECONDS
  end

  it "saves nothing if the block is left by break, throw or return" do
    append(1)
    expect(consumer.run { break :broken }).to eq(:broken)
    expect(catch(:done) { consumer.run { throw :done, :thrown } }).to eq(:thrown)
    expect(-> { consumer.run { return :returned } }.call).to eq(:returned)
    expect(checkpoint.load).to be_nil
    expect(consumed).to eq([1])
  end

  it "raises what the checkpoint raises, and does not call on_error" do
    append(1)
    full = Class.new(StandardError)
    checkpoint.define_singleton_method(:save) { |_| raise full }
    blocks = 0
    made = consumer(on_error: ->(*) { raise "not an error of the block" })
    expect { made.run { blocks += 1 } }.to raise_error(full)
    checkpoint.define_singleton_method(:load) { raise full }
    expect { made.run { blocks += 1 } }.to raise_error(full)
    expect(blocks).to eq(1)
  end

  it "raises the errors of the stream" do
    missing = client.stream(unique_path, content_type: :json)
    expect { described_class.new(missing, checkpoint: checkpoint).run { nil } }
      .to raise_error(DurableStreams::StreamNotFoundError)
  end

  describe "being stopped" do
    it "finishes the block, saves its batch, and returns" do
      saved = append(1)
      made = consumer
      result = made.run do
        made.stop
        append(2)
      end
      expect(result).to eq(:stopped)
      expect(checkpoint.load).to eq(saved)
      expect(consumed).to eq([2])
    end

    it "ends a wait of any mode at once" do
      %i[long_poll sse auto].each do |live|
        made = consumer(live: live)
        thread = Thread.new { made.run { nil } }
        Thread.pass until made.up_to_date?
        made.stop
        expect(thread.join(AtOnce::SECONDS)&.value).to eq(:stopped)
      end
    end

    it "ends the pause before a retry at once, and saves nothing" do
      append(1)
      failures = Queue.new
      made = consumer_with_policy(initial_delay: 1_000, max_delay: 1_000) { |error| failures << error }
      thread = Thread.new { made.run { raise "again" } }
      failures.pop
      Thread.pass until thread.stop?
      made.stop
      expect(thread.join(AtOnce::SECONDS)&.value).to eq(:stopped)
      expect(checkpoint.load).to be_nil
    end

    it "is final, also before the first run" do
      append(1)
      made = consumer
      2.times { expect(made.stop).to be_nil }
      expect(made).to be_stopped
      checkpoint.define_singleton_method(:load) { raise "must not load" }
      2.times { expect(made.run { raise "must not run" }).to eq(:stopped) }
    end

    it "returns :closed after the last batch of a closed stream" do
      append(1)
      stream.close_stream
      made = consumer
      expect(made.run { made.stop }).to eq(:closed)
    end
  end

  describe "whose server is killed and started again" do
    let(:restarted) { start_server(durability: :wal) }
    let(:path) { unique_path }
    let(:writer) { DurableStreams::Client.new(base_url: restarted.url) }
    let(:stream) { writer.create(path, content_type: :json, body: 1) }

    include_context "with log lines"

    after { writer.close }

    { "the default policy" => nil, "a policy of one retry" => { max_retries: 1, initial_delay: 0.001 } }
      .each do |name, policy|
      it "goes on with #{name}, and skips and repeats nothing" do
        stream
        policy &&= DurableStreams::RetryPolicy.new(**policy)
        client = DurableStreams::Client.new(base_url: restarted.url, retry_policy: policy)
        seen = Queue.new
        made = described_class.new(client.stream(path), checkpoint: checkpoint)
        thread = Thread.new { made.run { |batch| batch.items.each { |item| seen << item } } }
        expect(seen.pop).to eq(1)
        restarted.kill
        restarted.restart
        [2, 3].each { |item| stream.append(item) }
        stream.close_stream
        expect(thread.value).to eq(:closed)
        expect(Array.new(seen.size) { seen.pop }).to eq([2, 3])
        expect(log_lines).to match([/\AWARN durable_streams: outage: read /,
                                    /\AINFO durable_streams: outage over: read /])
      ensure
        client.close
      end
    end

    it "continues in the next run" do
      stream
      runs = Array.new(3) do |run|
        restarted.kill
        restarted.restart
        stream.append(run) if run.positive?
        consumed
      end
      expect(runs).to eq([[1], [1], [2]])
    end
  end

  it "does not run twice at once" do
    append(1)
    made = consumer
    message = "this consumer is already running: make another one"
    expect { made.run { made.run { nil } } }.to raise_error(ThreadError, message)
    made.run do
      expect { Thread.new { made.run { nil } }.tap { |thread| thread.report_on_exception = false }.value }
        .to raise_error(ThreadError, message)
      made.stop
    end
  end
end
