# frozen_string_literal: true

RSpec.describe DurableStreams::RetryPolicy do
  it "has the documented defaults" do
    defaults = { max_retries: 5, initial_delay: 0.1, max_delay: 30.0, multiplier: 2.0,
                 retryable_statuses: [429, 500, 502, 503, 504] }
    expect(described_class.default.to_h).to eq(defaults)
    expect(described_class.new(max_retries: 1).to_h).to eq(defaults.merge(max_retries: 1))
  end

  it "is frozen only as the default" do
    expect(described_class.default).to be_frozen
    expect(described_class.new).not_to be_frozen
  end

  {
    max_retries: [-1, 2**32, 1.5, nil, "3"],
    initial_delay: [0, -0.1, Float::NAN, Float::INFINITY, nil, "1"],
    max_delay: [0.09, 0, -1, Float::NAN, nil],
    multiplier: [0.5, -2, Float::INFINITY, nil],
    retryable_statuses: [nil, 503, ["503"], [200], [600]]
  }.each do |member, values|
    values.each do |value|
      it "rejects #{member}: #{value.inspect} when it is created" do
        expect { described_class.new(member => value) }.to raise_error(ArgumentError, /#{member} must be/)
      end

      it "rejects #{member}: #{value.inspect} on first use" do
        policy = described_class.new
        policy[member] = value
        expect { DurableStreams::Client.new(retry_policy: policy) }.to raise_error(ArgumentError, /#{member} must be/)
      end
    end
  end

  it "accepts an initial delay that equals the maximum" do
    expect(described_class.new(initial_delay: 0.5, max_delay: 0.5).max_delay).to eq(0.5)
    expect { described_class.new(initial_delay: 60) }.to raise_error(ArgumentError, /max_delay must be/)
  end

  it "rejects unknown options" do
    expect { described_class.new(retries: 3) }.to raise_error(ArgumentError, /retries/)
  end

  it "is that of configure for a client without one" do
    DurableStreams.configure { |config| config.retry_policy = described_class.new(max_retries: 1) }
    policies = [nil, described_class.new(max_retries: 2)].map do |policy|
      DurableStreams::Client.new(retry_policy: policy).context.config.retry_policy
    end
    expect(policies.map(&:max_retries)).to eq([1, 2])
  ensure
    DurableStreams.reset_configuration!
  end

  it "does not affect clients when it changes later" do
    policy = described_class.new(max_retries: 1)
    client = DurableStreams::Client.new(retry_policy: policy)
    policy.max_retries = 9
    policy.retryable_statuses = [500]
    expect(client.context.config.retry_policy).to eq(described_class.new(max_retries: 1)).and be_frozen
    expect(policy).not_to be_frozen
  end
end
