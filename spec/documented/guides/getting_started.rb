# frozen_string_literal: true

# Ends the consumer by Ctrl-C, once it has saved an offset.
GuideProgram.before("checkpoint = ") do
  Thread.new do
    Thread.pass until File.exist?("orders.offset")
    Process.kill("INT", Process.pid)
  end
end
