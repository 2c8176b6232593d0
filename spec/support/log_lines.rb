# frozen_string_literal: true

# For examples about what is logged: `log_lines` are the lines of DurableStreams.logger in this example, such as
# "WARN durable_streams: …".
RSpec.shared_context "with log lines" do
  let(:log_lines) { [] }

  around do |example|
    logger = DurableStreams.logger
    DurableStreams.logger = Logger.new(nil)
    example.run
  ensure
    DurableStreams.logger = logger
  end

  before do
    lines = log_lines
    DurableStreams.logger.define_singleton_method(:add) do |severity, message = nil, progname = nil|
      lines << "#{format_severity(severity)} #{message || progname}"
    end
  end
end
