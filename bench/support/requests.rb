# frozen_string_literal: true

module Bench
  # Times single requests, one after another and by several threads at the same time.
  module Requests
    private

    # Yields each of `inputs`. The first half warms up and is not measured.
    # @return [Hash{Symbol => Float}] p50, p99 and processor time of a request, in microseconds
    def each_timed(inputs, &request)
      warm_up, measured = inputs.each_slice((inputs.size / 2.0).ceil).to_a
      warm_up.each(&request)
      cpu = Measure.cpu
      times = Measure.profiled { measured.map { |input| Measure.seconds { request.call(input) } } }
      cpu = Measure.cpu - cpu
      { p50: Measure.median(times) * 1e6, p99: Measure.quantile(times, 0.99) * 1e6, cpu: cpu * 1e6 / times.size }
    end

    # Appends each list of messages through its handle, in its own thread. Calls the block before the threads end.
    # @return [Hash{Symbol => Float}] appends per second, and processor time of an append in microseconds
    def concurrent_appends(handles, lists)
      start, done, finish = Array.new(3) { Queue.new }
      threads = handles.zip(lists).map { |handle, list| appending(handle, list, start, done, finish) }
      Measure.settle
      cpu = Measure.cpu
      seconds = timed do
        start.close
        threads.size.times { done.pop }
      end
      cpu = Measure.cpu - cpu
      yield if block_given?
      finish.close
      threads.each(&:join)
      { rate: lists.sum(&:size) / seconds, cpu: cpu * 1e6 / lists.sum(&:size) }
    end

    def appending(handle, messages, start, done, finish)
      thread = Thread.new do
        start.pop
        messages.each { |message| handle.append(message) }
        done.push(true)
        finish.pop
      end
      thread.abort_on_exception = true
      thread
    end
  end
end
