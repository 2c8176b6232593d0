# frozen_string_literal: true

require "redis"
require "timeout"
require "tmpdir"

# Consumers in processes that are killed with kill -9 hundreds of times, while a thread appends.
RSpec.describe "A killed consumer", :databases, without: :gc_pressure do
  let!(:folder) { Dir.mktmpdir }
  let!(:stream) { DurableStreams.create(unique_url("killed"), content_type: :json) }
  after { FileUtils.rm_rf(folder) }

  # Appends 1, 2, 3 … while the block runs, and then closes the stream.
  # @return [Range<Integer>] the numbers
  def appending
    done = false
    thread = Thread.new do
      count = 0
      until done
        stream.append(count += 1)
        sleep(0.001) # The consumers need the processor, too.
      end
      stream.close_stream
      1..count
    end
    yield
    done = true
    thread.value
  ensure
    done = true
  end

  # Kills consumers that call `effect` for each batch, with its items, and then lets one finish.
  # @return [Range<Integer>] the numbers in the stream
  def kill_consumers(kills, checkpoint, &effect)
    killed = KilledConsumers.new(kills) do |number, begun|
      consumer = DurableStreams::Consumer.new(stream, checkpoint: checkpoint.call)
      consumer.run do |batch|
        begun.call
        effect.call(batch, number)
      end
    end
    numbers = appending { killed.run }
    killed.finish
    numbers
  end

  # Writes each batch to a file of its process, in one step.
  def write(batch, number)
    File.write(File.join(folder, format("%06d", number)), "#{batch.items.join(" ")}\n", mode: "a")
  end

  # @return [Array<Array<Array<Integer>>>] the batches of each process that wrote some
  def written
    Dir[File.join(folder, "*")].sort.map { |file| File.readlines(file).map { |line| line.split.map(&:to_i) } }
  end

  # The effects of a batch, with its checkpoint in their transaction.
  def store(batch, checkpoint)
    Effect.transaction do
      Effect.insert_all!(batch.items.map { |number| { number: number } })
      checkpoint.save(batch.offset)
    end
  end

  def expect_nothing_skipped(&checkpoint)
    numbers = kill_consumers(200, checkpoint) { |batch, number| write(batch, number) }
    expect(RepeatedBatches.new(written).mistake(numbers)).to be_nil
    expect(written.size).to be > 100
  end

  it "with a checkpoint in a file skips nothing, and repeats at most one batch for each kill" do
    Dir.mktmpdir do |other|
      expect_nothing_skipped { DurableStreams::Checkpoint::File.new(File.join(other, "offset")) }
    end
  end

  it "with a checkpoint in Redis skips nothing, and repeats at most one batch for each kill" do
    url = redis_url
    expect_nothing_skipped { DurableStreams::Checkpoint::Redis.new(Redis.new(url: url), stream.url) }
  end

  # As during a deployment, when the old process still runs. Whoever comes second raises, and begins again.
  it "and others with the same name at the same time have each effect exactly once" do
    numbers, effects = in_database(:postgres) do
      conflicts = Queue.new
      consume = lambda do
        checkpoint = DurableStreams::Checkpoint::ActiveRecord.new(Saved, "effects")
        DurableStreams::Consumer.new(stream, checkpoint: checkpoint).run { |batch| store(batch, checkpoint) }
      rescue DurableStreams::CheckpointError => e
        conflicts << e
        retry
      end
      threads = nil
      numbers = appending do
        threads = Array.new(3) { Thread.new(&consume) }
        Timeout.timeout(KilledConsumers::TIME_LIMIT) { 30.times { conflicts.pop } }
      end
      threads.each(&:join)
      [numbers, Effect.order(:id).pluck(:number)]
    end
    expect(effects).to eq(numbers.to_a)
  end

  Databases::KINDS.each do |kind|
    it "with a checkpoint in the transaction of its effects (#{kind}) has each effect exactly once" do
      numbers, effects = in_database(kind) do
        # Without a row, a process could begin before the first row, of a killed one, is visible, and end by an error.
        Saved.create!(name: "effects")
        Saved.connection_pool.disconnect!
        checkpoint = -> { DurableStreams::Checkpoint::ActiveRecord.new(Saved, "effects") }
        made = nil
        numbers = kill_consumers(100, -> { made = checkpoint.call }) do |batch, _|
          store(batch, made)
        end
        [numbers, Effect.order(:id).pluck(:number)]
      end
      expect(effects).to eq(numbers.to_a)
    end
  end
end
