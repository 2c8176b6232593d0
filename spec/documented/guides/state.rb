# frozen_string_literal: true

# The guide skips events, which is logged.
DurableStreams.logger = nil

def client
  @client ||= DurableStreams::Client.new(base_url: GuideProgram.url)
end
