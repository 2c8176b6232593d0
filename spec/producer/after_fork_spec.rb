# frozen_string_literal: true

RSpec.describe DurableStreams::Producer, "in a forked child", :producer, if: Process.respond_to?(:fork) do
  # Runs the block in a forked child and returns its value.
  def in_child
    output, input = IO.pipe
    pid = fork do
      output.close
      value = begin
        yield
      rescue StandardError => e
        "#{e.class}: #{e.message}"
      end
      input.write(Marshal.dump(value))
      input.close
      exit!(0) unless value == :exit
    end
    input.close
    Marshal.load(output.read) # rubocop:disable Security/MarshalLoad
  ensure
    Process.wait(pid)
    output.close
  end

  it "raises ProducerError from every method, while the parent's producer continues" do
    producer = direct(linger_ms: 60_000, max_batch_items: 3, on_delivery: ->(*) {}, headers: { "x" => -> { "1" } })
    producer << 1 << 2
    calls = [-> { producer << 3 }, -> { producer.append!(3) }, -> { producer.flush }, -> { producer.pending },
             -> { producer.epoch }, -> { producer.seq }, -> { producer.close(timeout: 1) }]
    messages = in_child { calls.map { |call| failure(&call).message } }
    messages << in_child { failure { producer.close_stream }.message }
    expect(messages).to all(match(/before the process forked/))
    producer << 3
    producer.close
    expect(stored).to eq([1, 2, 3])
  end

  it "sends none of the parent's messages when the child ends, at_exit or by garbage collection" do
    producer = direct(linger_ms: 60_000)
    producer << 1
    in_child { GC.start && :exit }
    expect(stored).to eq([])
    producer.close
    expect(stored).to eq([1])
  end

  it "does not disturb requests in flight" do
    producer = proxied(linger_ms: 0, max_batch_items: 1)
    producer.append!(0)
    send_blocked(producer, [1, 2, 3], :go)
    in_child { :exit }
    faults.open(:go)
    producer.flush
    expect(stored).to eq([0, 1, 2, 3])
  end

  it "lets the child create producers, with callbacks and callables" do
    parent = direct(on_delivery: ->(*) {}, headers: { "x" => -> { "1" } })
    parent.append!("parent".to_json)
    notices = in_child do
      queue = Queue.new
      child = described_class.new(stream: stream, producer_id: "child", headers: { "x" => -> { "2" } },
                                  on_delivery: ->(result, count) { queue << [result.seq, count] })
      child.append!("child".to_json)
      child.close
      queue.pop
    end
    expect(notices).to eq([0, 1])
    parent.append!("parent again".to_json)
    expect(stored).to eq(["parent", "child", "parent again"])
  end

  it "continues in the parent after a fork while other threads append" do
    producer = direct(max_batch_items: 5)
    writers = Array.new(3) { |t| Thread.new { 300.times { |i| producer << [t, i] } } }
    results = Array.new(5) do |n|
      in_child do
        described_class.open(stream: stream, producer_id: "child #{n}") { |child| child << ["child", n] }
        :done
      end
    end
    writers.each(&:join)
    producer.close
    expect(results).to all(eq(:done))
    groups = stored.group_by(&:first).transform_values { |items| items.map(&:last) }
    expect(groups.delete("child")).to eq((0..4).to_a)
    expect(groups).to eq((0..2).to_h { |t| [t, (0...300).to_a] })
  end

  # What a child does that is forked in a callback or a callable: it uses its own producer, which has both.
  in_callback = <<~RUBY
    def work(name, url)
      notices = Thread::Queue.new
      DurableStreams::Producer.open(url: url, content_type: :json, producer_id: name, headers: { "x" => -> { "2" } },
                                    on_delivery: ->(result, count) { notices << [result.seq, count] }) do |producer|
        producer.append!(name.to_json)
        producer << "last".to_json
        producer.flush
      end
      # The second notice needs a callback thread of the child's own. The copy of the forking thread gives only one.
      $stdout.syswrite("\#{name} \#{notices.pop} \#{notices.pop}\n")
      stream = DurableStreams.stream(url, content_type: :json, headers: { "x" => -> { "2" } })
      stream.append(name.to_json)
    end
  RUBY

  {
    "with a block" => "Process.wait(fork { work(name, url) })",
    "that continues as the child until it exits" => "(pid = fork) ? Process.wait(pid) : (work(name, url) || exit)",
    "that continues as the child and returns" => "(pid = fork) ? Process.wait(pid) : work(name, url)"
  }.each do |how, forking|
    it "works in a fork #{how}, in a callback and in a callable" do
      ended = ChildProcess.program(<<~RUBY, stream.url)
        #{in_callback}
        url = ARGV[0]
        main = Process.pid
        done = Thread::Queue.new
        forking = lambda do |name|
          next unless name

          #{forking}
          done << true if Process.pid == main
        end
        names = ["callable"]
        callable = lambda do
          forking.call(names.shift)
          "1"
        end
        producer = DurableStreams::Producer.new(url: url, content_type: :json, producer_id: "parent",
                                                headers: { "x" => callable },
                                                on_delivery: ->(*) { forking.call("callback") })
        producer.append!('"parent"')
        2.times { done.pop }
        producer.close
        $stdout.syswrite("end\n") if Process.pid == main
      RUBY
      expect(ended.output).to eq("callable [0, 1] [1, 1]\ncallback [0, 1] [1, 1]\nend\n")
      expect(ended.status).to be_success
      expect(stored).to eq(%w[callable last callable parent callback last callback])
    end
  end
end
