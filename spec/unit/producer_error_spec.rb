# frozen_string_literal: true

RSpec.describe DurableStreams::ProducerError do
  let(:fenced) do
    described_class.mark(DurableStreams::StaleEpochError.new(current_epoch: 4), ["a", { b: 1 }])
  end

  def rescued_as(error, *classes)
    raise error
  rescue *classes => e
    e
  end

  it "rescues an error of another class that is marked as a delivery error" do
    expect(rescued_as(fenced, described_class)).to equal(fenced)
  end

  it "does not change the error's class, so that it can also be rescued by it" do
    expect(rescued_as(fenced, DurableStreams::StaleEpochError)).to equal(fenced)
    expect(fenced.class).to equal(DurableStreams::StaleEpochError)
    expect(fenced.current_epoch).to eq(4)
  end

  it "makes is_a? true for such an error" do
    expect(fenced).to be_a(described_class).and be_kind_of(DurableStreams::ForbiddenError)
  end

  it "does not rescue other errors of the same class" do
    error = DurableStreams::StaleEpochError.new
    expect { rescued_as(error, described_class) }.to raise_error(error)
  end

  it "returns the undelivered data in order, as they were passed" do
    expect(fenced.undelivered).to eq(["a", { b: 1 }]).and be_frozen
    expect(described_class.new("no", undelivered: [1]).undelivered).to eq([1]).and be_frozen
    expect(described_class.new.undelivered).to eq([])
  end

  it "has the application's exception as its cause" do
    error = described_class.caused_by(KeyError.new("no token"), [1], "http://h/s")
    expect(error).to be_an_instance_of(described_class).and have_attributes(
      message: "produce to http://h/s: the application's code raised KeyError: no token", url: "http://h/s"
    )
    expect(error.cause).to be_a(KeyError)
    expect(error.undelivered).to eq([1])
  end

  it "lets subclasses match as classes do" do
    subclass = Class.new(described_class)
    expect(subclass === fenced).to be(false) # rubocop:disable Style/CaseEquality
    expect(rescued_as(subclass.new, described_class)).to be_a(subclass)
  end
end
