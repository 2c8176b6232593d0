# frozen_string_literal: true

require "open3"
require "rbconfig"

# Ctrl-C in a process with a single thread. Ruby then interrupts a wait from its signal handler or, before 3.3, from a
# thread that it starts for this. With several threads it does so differently.
RSpec.describe "Ctrl-C in a process of one thread" do
  let(:lib) { File.expand_path("../../lib", __dir__) }

  %i[long_poll sse].each do |live|
    it "ends a read with live: #{live.inspect}, and leaves the client usable" do
      path = unique_path
      DurableStreams::Client.new(base_url: server_url).create(path, content_type: "application/json").append(1)
      program = <<~RUBY
        require "durable_streams"
        $stdout.sync = true
        stream = DurableStreams::Client.new(base_url: #{server_url.dump}).stream(#{path.dump})
        begin
          stream.read_json(live: #{live.inspect}).each { |item| puts item }
        rescue Interrupt
          stream.append(2)
          puts "interrupted"
        end
      RUBY
      Open3.popen2e(RbConfig.ruby, "-I", lib, "-e", program) do |input, output, process|
        input.close
        expect(output.gets).to eq("1\n")
        Process.kill(:INT, process.pid)
        expect(output.read).to eq("interrupted\n")
        expect(process.value).to be_success
      end
    end
  end
end
