# frozen_string_literal: true

# The batches of several runs of a consumer, each of which continued where its checkpoint said. The stream has
# consecutive numbers.
class RepeatedBatches
  # @param runs [Array<Array<Array<Integer>>>] the batches of each run
  def initialize(runs)
    @runs = runs.reject(&:empty?)
  end

  # @param numbers [Range<Integer>] what the stream has
  # @return [Boolean] whether every run has consecutive numbers and begins after the last batch of the run before it, or
  #   with that batch; and whether they have all numbers together
  def complete?(numbers)
    mistake(numbers).nil?
  end

  # @return [String, nil] the first mistake
  def mistake(numbers)
    last = [numbers.first - 1]
    @runs.each_with_index do |batches, run|
      items = batches.flatten
      unless [last.first, last.last + 1].include?(items.first)
        return "run #{run} began with #{items.first}, after a batch #{last.first}..#{last.last}"
      end
      return "run #{run} has a gap or a repetition" unless items == (items.first..items.last).to_a

      last = batches.last
    end
    "#{last.last} is the last number, not #{numbers.last}" unless last.last == numbers.last
  end
end
