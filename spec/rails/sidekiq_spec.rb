# frozen_string_literal: true

require "socket"

# Jobs of a Rails application under Sidekiq. They track page views by a producer that sends nothing by itself.
RSpec.describe "Rails under Sidekiq", if: RailsApp.runs? do
  include_context "with a Rails application"

  # Sidekiq's queue, which no other example uses.
  let(:environment) { { "REDIS_URL" => redis_url.sub(%r{/0\z}, "/5"), "QUEUE" => "sidekiq" } }

  # Enqueues jobs by the code of a `rails runner`, and starts Sidekiq.
  def work(code)
    app.runner(code, environment: environment)
    sidekiq = app.start(Gem.bin_path("sidekiq", "sidekiq"), "-c", "2", "-e", "production", environment: environment)
    yield sidekiq
    ended = sidekiq.ended
    expect(ended.output).not_to match(/BUG|panicked|SEGV|did not reach|ERROR/)
    ended
  end

  it "sends what producers have after TERM, also what the last job appends" do
    gate = streams.create("/gate", content_type: :json)
    ended = work(<<~RUBY) do |sidekiq|
      2.times { |i| PageViewJob.perform_later("/\#{i}") }
      PageViewJob.perform_later("/last", "/gate")
    RUBY
      2.times { |i| sidekiq.wait_for(%r{tracked /#{i}}) }
      sidekiq.wait_for(%r{begun /last})
      expect(stored_page_views).to eq([])
      sidekiq.signal("TERM")
      sidekiq.wait_for(/Shutting down/)
      gate.append(true)
    end
    expect(ended.status).to be_success
    expect(ended.output).to match(%r{Shutting down.*tracked /last}m)
    expect(stored_page_views).to match_array(%w[/0 /1 /last])
  end
end
