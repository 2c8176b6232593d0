# frozen_string_literal: true

module DurableStreams
  module Checkpoint
    # An offset in a row of a table.
    #
    #   create_table :checkpoints do |t|
    #     t.string :name, null: false, index: { unique: true }
    #     t.string :offset
    #   end
    #
    # A save is part of the caller's transaction. So effects in the same database happen exactly once, if the block of
    # {Consumer#run} saves the offset in their transaction. The consumer's own save after the block then does nothing:
    #
    #   checkpoint = DurableStreams::Checkpoint::ActiveRecord.new(Checkpoint, "orders")
    #   DurableStreams::Consumer.new(stream, checkpoint: checkpoint).run do |batch|
    #     Order.transaction do
    #       batch.items.each { |order| Order.create!(order) }
    #       checkpoint.save(batch.offset)
    #     end
    #   end
    #
    # If something else has moved the offset since it was loaded, such as a second consumer with the same name, a save
    # raises, and the transaction is rolled back: also then, no effect happens twice. The same holds if the block runs
    # again although its transaction was committed, for example because the response to the COMMIT was lost.
    class ActiveRecord
      # @param model [Class] an ActiveRecord model with the columns `name` (unique) and `offset`, both strings; with a
      #   column `updated_at`, that is set, too
      # @param name [String, Symbol] the row's name
      # @raise [ArgumentError] if an argument is invalid
      def initialize(model, name)
        unless model.respond_to?(:column_names) && model.respond_to?(:connection_pool)
          Options.refuse("model", "an ActiveRecord model (a class)", model)
        end

        @model = model
        @name = Checkpoint.check_name(name, "name")
        @loaded = false
        # What the row has if the last save was committed, and what it has if that was rolled back.
        @after = @before = nil
        # The transaction of the last save, and how many were open then.
        @transaction = @depth = nil
      end

      # Waits for the transaction of a killed process whose commit has begun, if that saves an offset.
      # @return [String, nil]
      # @raise [ArgumentError] if the table does not have the columns
      # @raise [CheckpointError] if the row has something else than an offset
      # @raise [ActiveRecord::ActiveRecordError] what the database raises
      def load
        Checkpoint.check_loaded(connected { current }, "row #{@name} of #{@model.table_name}")
      end

      # @param offset [String]
      # @return [nil]
      # @raise [ArgumentError] if it cannot be an offset
      # @raise [CheckpointError] if something else has moved the offset since it was loaded; if another transaction, as
      #   of an earlier run of the block, has stored the same offset
      # @raise [ActiveRecord::ActiveRecordError] what the database raises
      def save(offset)
        Checkpoint.check_offset(offset)
        connected do |connection|
          current unless @loaded
          if offset == @after && !repeats?(connection) && row.exists?(offset: offset)
            leave(connection)
          else
            move_to(offset)
            @transaction = connection.current_transaction.object_id
            @depth = connection.open_transactions
          end
        end
        nil
      end

      # @return [String]
      def inspect
        "#<#{self.class} #{@model.table_name} #{@name}>"
      end

      private

      # The connection goes back to its pool, unless the thread uses it already.
      def connected
        @model.connection_pool.with_connection { |connection| @model.uncached { yield connection } }
      end

      def row
        @model.where(name: @name)
      end

      def current
        missing = %w[name offset] - @model.column_names
        unless missing.empty?
          raise ArgumentError, "table #{@model.table_name} has no column #{missing.join(" and no column ")}: " \
                               "a checkpoint needs name (unique) and offset, both strings"
        end

        @after = @before = row.lock.pick(:offset)
        @transaction = @depth = nil
        @loaded = true
        @after
      end

      # Whether this transaction has the effects of the last save's again. If that one was committed, both must not be.
      # Not so after its end, where {Consumer} saves: fewer transactions are open.
      def repeats?(connection)
        !ended?(connection) && connection.current_transaction.object_id != @transaction
      end

      # Whether the transaction of the last save has ended, and no other has begun in its place.
      def ended?(connection)
        @depth.nil? || connection.open_transactions < @depth
      end

      # The consumer goes on. If the next save has the same offset, it is that of another part of a huge batch.
      def leave(connection)
        @transaction = @depth = nil if ended?(connection)
      end

      def move_to(offset)
        known = offset == @after ? [@before] : [@after, @before].uniq
        index = known.index { |from| moved?(from, offset) }
        raise CheckpointError, stored_already?(offset) ? stored_already : moved_by_another unless index

        @before = known[index]
        @after = offset
      end

      def stored_already?(offset)
        offset == @after && row.exists?(offset: offset)
      end

      # One statement compares and sets, so that this works at any isolation level.
      def moved?(from, offset)
        values = { offset: offset }
        values[:updated_at] = Time.now if @model.column_names.include?("updated_at")
        return true if row.where(offset: from).update_all(values) == 1

        from.nil? && !row.exists? && row.create!(offset: offset)
      rescue ::ActiveRecord::RecordNotUnique
        raise CheckpointError, moved_by_another
      end

      def stored_already
        "cannot save the checkpoint #{@name} again: its row in #{@model.table_name} has #{@after.inspect} already, " \
          "so the effects up to there are stored (by an earlier run of the block, or another consumer of this name)"
      end

      def moved_by_another
        "cannot save the checkpoint #{@name}: its row in #{@model.table_name} does not have the offset that was " \
          "loaded or saved last (#{@after.inspect}). Does another consumer use this name?"
      end
    end
  end
end
