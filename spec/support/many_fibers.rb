# frozen_string_literal: true

require_relative "small_scheduler"

# Tails many streams in as many fibers of one thread, and tells what that took.
class ManyFibers
  # @param count [Integer] how many
  # @param url [String] a server's
  def initialize(count, url)
    client = DurableStreams::Client.new(base_url: url)
    @streams = Array.new(count) { |index| client.stream("/#{index}", content_type: :json) }
    @sums = Array.new(count, 0)
    @caught_up = Thread::Queue.new
    @report = {}
  end

  # @return [Hash] :complete, :threads (Ruby's), :kilobytes (by which the process grew until all were waiting, where the
  #   system tells)
  def run
    create
    @before = resident
    SmallScheduler.run do
      @streams.each_index { |index| Fiber.schedule { tail(index) } }
      Fiber.schedule { write }
      @report[:threads] = Thread.list.size
    end
    @report.merge(complete: @sums.all?(3))
  end

  private

  def create
    threads = @streams.each_slice((@streams.size / 20.0).ceil).map { |some| Thread.new { some.each(&:create) } }
    threads.each(&:join)
  end

  def tail(index)
    @streams[index].read(live: :long_poll).each do |batch|
      @caught_up << index if batch.items.empty?
      @sums[index] += batch.items.sum
      break if @sums[index] == 3
    end
  end

  # Once all have caught up with their empty streams.
  def write
    @streams.each { @caught_up.pop }
    @report[:kilobytes] = resident - @before
    [1, 2].each { |number| @streams.each { |stream| stream.append(number) } }
  end

  def resident
    File.exist?("/proc/self/status") ? Integer(File.read("/proc/self/status")[/VmRSS:\s*(\d+)/, 1]) : 0
  end
end
