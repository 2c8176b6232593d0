# frozen_string_literal: true

# The guide's tests, in the application that is made of the guide's code.
RSpec.describe "docs/rails.md", if: RailsApp.runs? do
  include_context "with a Rails application"

  # Eager loading, and the examples of this folder, use these. A further file needs an example, too.
  it "has files that the examples use" do
    expect(RailsApp.guide.keys).to contain_exactly(
      "app/jobs/append_job.rb", "app/models/order.rb", "app/models/payment.rb", "app/models/room.rb",
      "app/services/page_views.rb", "config/initializers/durable_streams.rb", "config/puma.rb", "config/routes.rb",
      "db/seeds.rb", "test/models/order_test.rb", "test/test_helper.rb"
    )
  end

  it "has tests that pass, and seeds that may run again" do
    printed = app.run("-Itest", "test/models/order_test.rb", environment: { "RAILS_ENV" => "test" })
    expect(printed).to match(/^3 runs, \d+ assertions, 0 failures, 0 errors/)
    expect(stored("/orders")).to eq([])
    streams.stream("/orders").delete
    app.run("bin/rails", "runner", "2.times { load('db/seeds.rb') }")
    expect(stored("/orders")).to eq([])
  end
end
