# frozen_string_literal: true

require_relative "small_scheduler"

# Follows many streams, each in its own fiber of one thread, and reports the cost.
class ManyFibers
  # @param count [Integer] how many streams
  # @param url [String] the server's base URL
  def initialize(count, url)
    client = DurableStreams::Client.new(base_url: url)
    @streams = Array.new(count) { |index| client.stream("/#{index}", content_type: :json) }
    @sums = Array.new(count, 0)
    @caught_up = Thread::Queue.new
    @report = {}
  end

  # @return [Hash] :complete (whether every fiber read everything), :threads (Ruby threads), :kilobytes (how much the
  #   process grew until all fibers waited; 0 if the system does not report it)
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

  # Appends once all fibers have caught up with their empty streams.
  def write
    @streams.each { @caught_up.pop }
    @report[:kilobytes] = resident - @before
    [1, 2].each { |number| @streams.each { |stream| stream.append(number) } }
  end

  def resident
    File.exist?("/proc/self/status") ? Integer(File.read("/proc/self/status")[/VmRSS:\s*(\d+)/, 1]) : 0
  end
end
