# frozen_string_literal: true

# Tracks a page view; with a gate, when the stream with that name has a message.
class PageViewJob < ApplicationJob
  def perform(path, gate = nil)
    puts "begun #{path}"
    DurableStreams.stream(gate, content_type: :json).read_json(live: :long_poll).first if gate
    PageViews.track({ path: path })
    puts "tracked #{path}"
  end
end
