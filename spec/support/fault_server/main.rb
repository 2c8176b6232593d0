# frozen_string_literal: true

# The fault server's process. Its argument is the path of its control socket, in a directory of its own. It writes its
# port to standard output when it is ready. It ends when its standard input ends, so that it never outlives the process
# that started it.

require "fileutils"
require_relative "control"

# Runs only as a program: the specs load every file in spec/support.
if $PROGRAM_NAME == __FILE__
  begin
    path = ARGV.fetch(0)
    # A connection takes three descriptors, and specs open hundreds of connections.
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
