# frozen_string_literal: true

on_each_server "docs/state.md" do
  it "says what its Ruby blocks do" do
    guide = Guide.new("state.md")
    output, status = ChildProcess.outcome(guide.program(<<~RUBY))
      client = DurableStreams::Client.new(base_url: #{server_url.inspect} + "/specs/#{SecureRandom.hex(8)}")
      DurableStreams.logger = nil
    RUBY
    expect(output).to end_with("checked: #{guide.values}\n")
    expect(status).to be_success
    expect(guide.values).to be >= 8
  end
end
