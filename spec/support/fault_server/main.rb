# frozen_string_literal: true

# The fault server's process. Takes the path of its control socket, in a directory of its own; writes its port to
# standard output when it is ready; ends when its standard input does, so that it never outlives whoever started it.

require "fileutils"
require_relative "control"

# Only as a program: specs load every file of their support.
if $PROGRAM_NAME == __FILE__
  begin
    path = ARGV.fetch(0)
    # Three descriptors a connection, and specs make hundreds of them.
    Process.setrlimit(:NOFILE, [Process.getrlimit(:NOFILE)[1], 65_536].min)
    control = FaultServer::Control.new(path)
    $stdout.puts(control.port)
    $stdout.flush
    Thread.new { control.serve }
    $stdin.read
  ensure
    FileUtils.remove_entry(File.dirname(path))
  end
end
