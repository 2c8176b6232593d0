# frozen_string_literal: true

# Three worker processes, which are killed at random. WORKER_EVENTS=10000 WORKER_SECONDS=60 is the long version.
on_server_with_subscriptions DurableStreams::Worker, "killed with SIGKILL" do
  events = Integer(ENV.fetch("WORKER_EVENTS", "2000"))
  seconds = Float(ENV.fetch("WORKER_SECONDS", "10"))

  let(:ids) { Array.new(2) { subscribe(lease_ttl: 2) } }
  let(:streams) { Array.new(20) { |n| stream_of(ids[n % ids.size], n.to_s) } }
  let(:workers) { KilledWorkers.new(server_url + SubscriptionHelpers::ROOT, ids, processes: 3) }

  # Appends the numbers of each stream's events, one for each stream after the other, in about `seconds`.
  def append(streams, events, seconds)
    last = Array.new(streams.size, 0)
    started = now
    events.times do |n|
      index = n % streams.size
      streams[index] << last[index]
      last[index] += 1
      delay = started + (seconds * n / events) - now
      sleep delay if delay.positive? # to spread the events over time
    end
    streams.map(&:path).zip(last).to_h
  end

  it "handle every event, in order within a stream, and repeat only what was not acked" do
    streams
    workers
    stopped = Queue.new
    killer = Thread.new do
      until stopped.closed?
        sleep workers.pause # at random times
        workers.kill_one
      end
    end
    appended = append(streams, events, seconds)
    stopped.close
    killer.join
    ids.each { |id| wait_until_acked(id, *streams.select { |stream| stream.path.start_with?(id) }) }
    expect(workers.stop.map(&:output)).to all(eq(""))
    check(workers.handled, appended)
    RSpec.configuration.reporter.message("#{events} events, #{workers.kills.size} kills, " \
                                         "#{workers.handled.size - events} repetitions")
  end

  def check(handled, appended)
    by_stream = handled.group_by(&:path)
    expect(by_stream.transform_values { |of_stream| of_stream.map(&:number).uniq.sort })
      .to eq(appended.transform_values { |count| (0...count).to_a })
    by_stream.each { |path, of_stream| check_order(path, of_stream) }
  end

  # A batch may be repeated, but nothing is left out.
  def check_order(path, handled)
    last = {}
    handled.each do |event|
      expect(event.number).to be <= last.size, "#{path}: #{event.number} comes before #{last.size}"
      check_repetition(path, last[event.number], event.time) if last.key?(event.number)
      last[event.number] = event.time
    end
  end

  # An event is repeated only after a kill, and soon after the killed process's lease has run out.
  def check_repetition(path, before, time)
    kill = workers.kills.reverse_each.find { |killed| killed < time }
    expect(kill.to_f).to be > before, "#{path}: handled at #{before} and at #{time}, and nothing was killed meanwhile"
    expect(time - kill).to be < 2 + AtOnce::SECONDS
  end
end
