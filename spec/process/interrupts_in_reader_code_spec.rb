# frozen_string_literal: true

# Ruby raises what interrupts a thread wherever a method returns, and what the method returned is lost with it. Here
# something is raised at the return of each method that a reader calls, one after the other, instead of an interrupt.
RSpec.describe "An interrupt in the midst of a reader's own code", :faults do
  # Ruby runs these without calling anything, and is not interrupted there.
  let(:no_calls) { %i[[] + == ! nil? size empty?] }
  let(:lib) { %r{/lib/durable_streams/\w+\.rb\z} }
  let(:interrupt) { Class.new(Interrupt) }

  before do
    answer("-1", "[1,2]", next_offset: "2", up_to_date: false)
    answer("2", "[3,4]", next_offset: "4")
    answer("4", "", next_offset: "4")
  end

  def answer(offset, *body, **position)
    faults.on("GET", nil, query: { "offset" => offset }) { |reply| reply.read(*body, **position) }
  end

  # Runs the block, interrupted at the nth return.
  # @return [Boolean] whether there was such a return
  def interrupted_at(number, &block)
    returns = 0
    trace = TracePoint.new(:return, :c_return) do |point|
      next if !lib.match?(point.path) || (point.event == :c_return && no_calls.include?(point.method_id))

      returns += 1
      raise interrupt if returns == number
    end
    trace.enable(target_thread: Thread.current, &block)
    false
  rescue interrupt
    true
  end

  {
    "each_item" => [:read_json, ->(reader, items) { reader.each_item { |item| items << item } }],
    "each_batch" => [:read_json, ->(reader, items) { reader.each_batch { |batch| items.concat(batch.items) } }],
    "each_batch of bytes" => [:read_bytes, ->(reader, items) { reader.each_batch { |chunk| items << chunk.data } }]
  }.each do |name, (open, read)|
    it "neither loses nor repeats what #{name} hands out" do
      stream = fault_stream(type: open == :read_json ? :json : :bytes)
      read.call(stream.public_send(open), whole = [])
      interrupts = (1..1000).take_while do |number|
        reader = stream.public_send(open)
        items = []
        interrupted = interrupted_at(number) { read.call(reader, items) }
        read.call(reader, items)
        # Whoever reads on at the end of a byte stream gets an empty chunk.
        expect([number, items - [""]]).to eq([number, whole])
        interrupted
      end
      expect(interrupts.size).to be_between(10, 999)
    end
  end

  # Where Ruby looks for interrupts within a method, other than at calls, can only be tried.
  it "loses no item in an iteration that is interrupted often", without: :gc_pressure do
    answer("-1", (1..20_000).to_a.to_json, next_offset: "2")
    answer("2", "[]", next_offset: "2") # Whoever was interrupted with the last items in hand asks for more after them.
    stream = fault_stream
    armed = false
    wrong = []
    raised = interrupt
    trap("USR1") do
      next unless armed

      armed = false
      raise raised
    end
    signals = Process.spawn(RbConfig.ruby, "--disable=gems", "-e", <<~RUBY, Process.pid.to_s)
      loop { Process.kill(:USR1, Integer(ARGV[0])) && sleep(0.001) }
    RUBY
    interrupts = 0
    while interrupts < 300
      reader = stream.read_json
      last = 0
      ended = false
      until ended || last == 20_000
        begin
          reader.each_item do |item|
            previous = last
            last = item
            wrong << [previous, item] unless item == previous + 1
            armed = true if (item % 100).zero? # not at once: each iteration shall come some way
          end
          ended = true
          armed = false
        rescue raised
          interrupts += 1
        end
      end
      wrong << [last, :end] unless last == 20_000
    end
    expect(wrong).to eq([])
  ensure
    armed = false
    Process.kill(:KILL, signals) && Process.wait(signals) if signals
    trap("USR1") {} # One may be on its way still.
  end

  it "gives the items that each_item had taken when it was interrupted to the next batch" do
    stream = fault_stream
    (1..20).each do |number|
      reader = stream.read_json
      items = []
      interrupted_at(number) { reader.each_item { |item| items << item } }
      reader.each_batch { |batch| items.concat(batch.items) }
      expect([number, items]).to eq([number, [1, 2, 3, 4]])
    end
  end
end
