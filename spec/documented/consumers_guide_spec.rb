# frozen_string_literal: true

require "tmpdir"

on_each_server "docs/consumers.md" do
  # What the blocks use. The third order ends the first one by a signal. The migration runs once its class is defined,
  # and then the stream is closed, so that the later blocks end.
  def definitions
    <<~RUBY
      $VERBOSE = nil # ActiveRecord and its database adapter have warnings.
      require "active_record"
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: "guide.sqlite3")
      ActiveRecord::Schema.verbose = false
      ActiveRecord::Schema.define { create_table(:shipments) { |table| table.integer :order_id } }
      class Shipment < ActiveRecord::Base; end

      client = DurableStreams::Client.new(base_url: #{server_url.inspect} + "/specs/#{SecureRandom.hex(8)}")
      stream = client.create("/orders", content_type: :json)
      3.times { |number| stream.append({ id: number }) }
      TracePoint.new(:end) do |trace|
        if trace.self.name == "CreateCheckpoints"
          CreateCheckpoints.new.migrate(:up)
          stream.close_stream
        end
      end.enable

      SHIPPED = []
      def ship(order)
        Process.kill("TERM", Process.pid) if (SHIPPED << order).size == 3
      end
      archived, rejected = [], []
      at_exit { p SHIPPED.size, archived.size, File.read("orders.offset").strip == stream.head.offset }
    RUBY
  end

  it "says what its Ruby blocks do" do
    guide = Guide.new("consumers.md")
    output, status = Dir.mktmpdir do |folder|
      ChildProcess.outcome("Dir.chdir(#{folder.inspect})\n#{guide.program(definitions)}")
    end
    expect(output).to end_with("checked: #{guide.values}\n3\n3\ntrue\n")
    expect(status).to be_success
    expect(guide.values).to be >= 6
  end
end
