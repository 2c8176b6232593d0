# frozen_string_literal: true

# Ruby can raise an interrupt whenever a method returns. The method's return value is then lost. To simulate this, these
# examples raise an exception at the return of every method that a reader calls, one after the other.
RSpec.describe "An interrupt in a reader's Ruby code", :faults do
  # Ruby optimizes these methods: it does not call them and cannot be interrupted there.
  let(:no_calls) { %i[[] + == ! nil? size empty?] }
  let(:lib) { %r{/lib/durable_streams/\w+\.rb\z} }
  let(:interrupt) { Class.new(Interrupt) }

  before do
    respond_at("-1", "[1,2]", next_offset: "2", up_to_date: false)
    respond_at("2", "[3,4]", next_offset: "4")
    respond_at("4", "", next_offset: "4")
  end

  def respond_at(offset, *body, **position)
    faults.on("GET", nil, query: { "offset" => offset }) { |reply| reply.read(*body, **position) }
  end

  # Runs the block and interrupts it at the nth return.
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
    it "neither loses nor repeats items of #{name}" do
      stream = fault_stream(type: open == :read_json ? :json : :bytes)
      read.call(stream.public_send(open), whole = [])
      interrupts = (1..1000).take_while do |number|
        reader = stream.public_send(open)
        items = []
        interrupted = interrupted_at(number) { read.call(reader, items) }
        read.call(reader, items)
        # A further read at the end of a byte stream yields an empty chunk.
        expect([number, items - [""]]).to eq([number, whole])
        interrupted
      end
      expect(interrupts.size).to be_between(10, 999)
    end
  end

  # Ruby also checks for interrupts at other places within a method. This example tries to hit them.
  it "loses no item in an iteration that is interrupted often", without: :gc_pressure do
    respond_at("-1", (1..20_000).to_a.to_json, next_offset: "2")
    respond_at("2", "[]", next_offset: "2") # Requested after an interrupt at the last items.
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
            armed = true if (item % 100).zero? # Later, so that every iteration makes progress.
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
    trap("USR1") {} # A last signal may still arrive.
  end

  it "leaves the items that each_item had not yielded to the next batch" do
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
