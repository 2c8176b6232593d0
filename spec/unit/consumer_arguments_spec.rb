# frozen_string_literal: true

RSpec.describe DurableStreams::Consumer do
  let(:stream) { DurableStreams.stream("http://user:secret@localhost/orders?token=secret") }
  let(:checkpoint) { DurableStreams::Checkpoint::Memory.new }

  def consumer(**options)
    described_class.new(stream, checkpoint: checkpoint, **options)
  end

  it "requires a stream" do
    expect { described_class.new("/orders", checkpoint: checkpoint) }
      .to raise_error(ArgumentError, "stream must be a DurableStreams::Stream, got String")
  end

  it "requires a checkpoint that responds to load and save" do
    message = "checkpoint must respond to load and save(offset), as DurableStreams::Checkpoint::File does; "
    expect { consumer(checkpoint: "orders.offset") }
      .to raise_error(ArgumentError, "#{message}String does not respond to load and save")
    loads = Class.new { attr_reader :load }.new
    expect { consumer(checkpoint: loads) }
      .to raise_error(ArgumentError, /\A#{Regexp.escape(message)}#<Class:0x\h+> does not respond to save\z/)
  end

  it "requires a live mode that a read has" do
    expect { consumer(live: :websocket) }
      .to raise_error(ArgumentError, /\Alive must be :off .*, got :websocket \(Symbol\)\z/)
  end

  it "requires an on_error that responds to call" do
    expect { consumer(on_error: :retry) }
      .to raise_error(ArgumentError, "on_error must respond to call, or be nil, got Symbol")
  end

  it "requires a block to run" do
    expect { consumer.run }.to raise_error(ArgumentError, "run requires a block, which receives each batch")
  end

  it "requires a checkpoint that loads an offset or nil" do
    numbers = stub_const("Numbers", Class.new do
      def load = 7
      def save(offset) = offset
    end)
    expect { consumer(checkpoint: numbers.new).run { nil } }.to raise_error(
      ArgumentError, "load of the checkpoint (Numbers) must return an offset (a String) or nil, got 7 (Integer)"
    )
  end

  it "shows its stream without credentials" do
    expect(consumer.inspect)
      .to match(%r{\A#<DurableStreams::Consumer http://localhost/orders\?… checkpoint=#<.*Memory.*> stopped=false>\z})
  end

  it "is loaded on its first use" do
    output, = ChildProcess.outcome(<<~RUBY)
      loaded = -> { $LOADED_FEATURES.map { |file| File.basename(file) } & %w[consumer.rb checkpoint.rb memory.rb] }
      p loaded.call, DurableStreams::Consumer, loaded.call, DurableStreams::Checkpoint::Memory, loaded.call
      p DurableStreams::CheckpointError.superclass
    RUBY
    expect(output).to eq(<<~TEXT)
      []
      DurableStreams::Consumer
      ["consumer.rb"]
      DurableStreams::Checkpoint::Memory
      ["consumer.rb", "checkpoint.rb", "memory.rb"]
      DurableStreams::DurableStreamError
    TEXT
  end
end
