# frozen_string_literal: true

RSpec.describe DurableStreams::Checkpoint::ActiveRecord, :databases do
  def checkpoint(name = "orders")
    described_class.new(Saved, name)
  end

  def rows
    Saved.order(:name).pluck(:name, :offset)
  end

  # The statements that the block sends, without those of transactions.
  def statements(&block)
    sent = []
    subscriber = lambda do |*, payload|
      sent << payload[:sql][/\A\w+/] unless %w[SCHEMA TRANSACTION].include?(payload[:name])
    end
    ActiveSupport::Notifications.subscribed(subscriber, "sql.active_record", &block)
    sent
  end

  # The message of the CheckpointError that the block raises.
  def refusal
    yield
    "no error"
  rescue DurableStreams::CheckpointError => e
    e.message
  end

  def moved(offset)
    "cannot save the checkpoint orders: its row in checkpoints does not have the offset that was " \
      "loaded or saved last (#{offset.inspect}). Does another consumer use this name?"
  end

  Databases::KINDS.each do |kind|
    context "in a database of the kind #{kind}" do
      it "stores one offset under each name" do
        result = in_database(kind) do
          loaded = [checkpoint.load]
          checkpoint.save("1")
          checkpoint(:payments).save("7")
          checkpoint.save("2")
          loaded << checkpoint.load << checkpoint("payments").load
          [loaded, rows]
        end
        expect(result).to eq([[nil, "2", "7"], [%w[orders 2], %w[payments 7]]])
      end

      it "saves in the caller's transaction, and after its rollback again" do
        result = in_database(kind) do
          made = checkpoint
          made.load
          seen = %w[1 2].map do |offset|
            Saved.transaction do
              made.save(offset)
              raise ActiveRecord::Rollback
            end
            rolled_back = rows
            Saved.transaction { made.save(offset) }
            [rolled_back, rows]
          end
          [seen, statements { made.save("2") }]
        end
        expect(result).to eq([[[[], [%w[orders 1]]], [[%w[orders 1]], [%w[orders 2]]]], ["SELECT"]])
      end

      it "changes nothing, and raises, if something else has moved the offset" do
        result = in_database(kind) do
          first, second = Array.new(2) { checkpoint.tap(&:load) }
          first.save("1")
          refused = refusal do
            Effect.transaction do
              Effect.create!(number: 1)
              second.save("1")
            end
          end
          second.load
          second.save("2")
          [refused, refusal { first.save("2") }, rows, Effect.count]
        end
        expect(result).to eq([moved(nil), moved("1"), [%w[orders 2]], 0])
      end
    end
  end

  # Runs a consumer's block: its effects and the save, in one transaction.
  def run_block(checkpoint, offset)
    Effect.transaction do
      Effect.create!(number: 1)
      checkpoint.save(offset)
      yield if block_given?
    end
  end

  # The response to a COMMIT may be lost, and Rails runs after_commit blocks within `transaction`.
  it "refuses a block that runs again after the commit of its transaction" do
    result = in_database(:postgres) do
      made = checkpoint
      run_block(made, "1")
      refused = refusal { run_block(made, "1") }
      made.save("1")
      run_block(made, "2")
      [refused, Effect.count, rows]
    end
    expect(result).to eq(["cannot save the checkpoint orders again: its row in checkpoints has \"1\" already, so the " \
                          "effects up to there are stored (by an earlier run of the block, or another consumer of " \
                          "this name)", 2, [%w[orders 2]]])
  end

  # A huge batch may come in parts with the same offset. The consumer saves after each.
  it "saves the same offset for the next part of a batch" do
    result = in_database(:postgres) do
      made = checkpoint
      seen = Array.new(3) do
        run_block(made, "1")
        made.save("1")
        [rows, Effect.count]
      end
      run_block(made, "2")
      [seen, rows]
    end
    expect(result).to eq([[[[%w[orders 1]], 1], [[%w[orders 1]], 2], [[%w[orders 1]], 3]], [%w[orders 2]]])
  end

  it "refuses a block that runs again after another consumer has stored its effects" do
    result = in_database(:postgres) do
      first, second = Array.new(2) { checkpoint.tap(&:load) }
      run_block(first, "1") { raise ActiveRecord::Rollback }
      run_block(second, "1")
      [refusal { run_block(first, "1") }, Effect.count]
    end
    expect(result).to match([/cannot save the checkpoint orders again/, 1])
  end

  it "saves within the transaction that Rails has around each test" do
    result = in_database(:postgres) do
      made = checkpoint
      Saved.connection.begin_transaction(joinable: false)
      refusals = %w[1 2].map do |offset|
        run_block(made, offset) { raise ActiveRecord::Rollback }
        run_block(made, offset) { made.save(offset) }
        refusal { run_block(made, offset) }.tap { made.save(offset) }
      end
      [refusals, rows, Effect.count]
    end
    expect(result).to match([all(include("cannot save the checkpoint orders again")), [%w[orders 2]], 2])
  end

  # SQLite lets one writer wait, and refuses others.
  it "stores one of several first saves at once, and raises for the others" do
    result = in_database(:postgres) do
      made = Array.new(4) { checkpoint.tap(&:load) }
      go = Queue.new
      threads = made.each_with_index.map do |each, number|
        Thread.new do
          go.pop
          refusal do
            Saved.transaction do
              Effect.create!(number: number)
              each.save("1")
            end
          end
        end
      end
      go.close
      [threads.map(&:value).tally, rows, Effect.count]
    end
    expect(result).to eq([{ "no error" => 1, moved(nil) => 3 }, [%w[orders 1]], 1])
  end

  it "begins at the beginning if the row has no offset" do
    result = in_database(:postgres) do
      Saved.create!(name: "orders")
      made = checkpoint
      [made.load, made.save("1"), rows]
    end
    expect(result).to eq([nil, nil, [%w[orders 1]]])
  end

  it "raises if the row was deleted" do
    result = in_database(:postgres) do
      made = checkpoint
      %w[1 2].each { |offset| made.save(offset) }
      Saved.delete_all
      [refusal { made.save("3") }, rows]
    end
    expect(result).to eq([moved("2"), []])
  end

  it "sets updated_at" do
    ages = in_database(:postgres) do
      checkpoint.save("1")
      Saved.update_all(updated_at: Time.at(0), created_at: Time.at(0))
      checkpoint.save("2")
      [Saved.first.created_at, Saved.first.updated_at].map { |time| Time.now - time }
    end
    expect(ages.first).to be > 1_000
    expect(ages.last).to be_between(0, 300)
  end

  it "does not use the query cache" do
    result = in_database(:postgres) do
      made = checkpoint
      made.save("1")
      Saved.cache do
        loaded = [made.load]
        Thread.new { checkpoint.save("2") }.join
        loaded << made.load
      end
    end
    expect(result).to eq(%w[1 2])
  end

  it "gives its connection back, unless the thread has one already" do
    result = in_database(:postgres) do
      pool = Saved.connection_pool
      pool.release_connection
      made = checkpoint
      made.load
      made.save("1")
      without = pool.active_connection?
      own = Saved.connection
      made.save("2")
      [without.nil?, own.equal?(pool.active_connection?)]
    end
    expect(result).to eq([true, true])
  end

  it "says which columns the table lacks" do
    message = in_database(:postgres) do
      described_class.new(Effect, "orders").load
    rescue ArgumentError => e
      e.message
    end
    expect(message).to eq("table effects has no column name and no column offset: a checkpoint needs name (unique) " \
                          "and offset, both strings")
  end

  it "does not take anything else for an offset" do
    message = in_database(:postgres) do
      Saved.create!(name: "orders", offset: "")
      refusal { checkpoint.load }
    end
    expect(message).to eq("cannot load the checkpoint: row orders of checkpoints does not have an offset, but \"\". " \
                          "Write an offset, or delete it to begin anew")
  end

  # A killed process may have sent its COMMIT. Its server process finishes that while the next process starts.
  it "waits, when it loads, for a transaction that has saved an offset" do
    loaded = in_database(:postgres) do
      checkpoint.save("1")
      saved = Queue.new
      commit = Queue.new
      committing = Thread.new do
        Saved.transaction do
          checkpoint.save("2")
          saved << true
          commit.pop
        end
      end
      saved.pop
      loading = Thread.new { checkpoint.load }
      waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
      Thread.pass until Saved.connection.select_value(waiting).positive?
      commit << true
      committing.join
      loading.value
    end
    expect(loaded).to eq("2")
  end

  it "raises ArgumentError for invalid arguments, and shows its row" do
    results = in_database(:sqlite) do
      [%w[orders x], [String, "x"], [Saved, nil], [Saved, ""]].map do |arguments|
        described_class.new(*arguments)
      rescue ArgumentError => e
        e.message
      end + [checkpoint.inspect]
    end
    expect(results).to eq(['model must be an ActiveRecord model (a class), got "orders" (String)',
                           "model must be an ActiveRecord model (a class), got Class",
                           "name must be a String or Symbol, and not empty, got nil",
                           'name must be a String or Symbol, and not empty, got "" (String)',
                           "#<DurableStreams::Checkpoint::ActiveRecord checkpoints orders>"])
  end
end
