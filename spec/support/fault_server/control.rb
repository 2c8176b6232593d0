# frozen_string_literal: true

require "socket"
require_relative "session"

class FaultServer
  # Executes the specs' commands. Each command uses its own connection to a Unix socket: a marshalled Array comes in, a
  # marshalled result goes out. So any thread, fiber or forked child of a spec can send commands, even while others
  # wait.
  class Control
    def initialize(path)
      @socket = UNIXServer.new(path)
      @session = Session.new
    end

    # The port of the current session.
    def port
      @session.port
    end

    # Serves commands forever.
    def serve
      loop do
        client = @socket.accept
        Thread.new { execute(client) }
      end
    end

    private

    def execute(client)
      name, *arguments = Marshal.load(client) # rubocop:disable Security/MarshalLoad
      result = begin
        [:ok, send("command_#{name}", *arguments)]
      rescue StandardError => e
        [:error, e.full_message(highlight: false)]
      end
      Marshal.dump(result, client)
    rescue EOFError, SystemCallError
      nil # The caller has closed the socket, for example because its thread was killed while it waited.
    ensure
      client.close
    end

    def command_reset
      @session.close
      @session = Session.new
      port
    end

    def command_rule(fields)
      @session.script.add(fields)
      nil
    end

    def command_connect(steps, times)
      @session.script.add_connect(steps, times)
    end

    def command_release(gate, times)
      @session.gates.release(gate, times)
      nil
    end

    def command_open(gate)
      @session.gates.open(gate)
      nil
    end

    def command_refuse
      @session.refuse
      nil
    end

    def command_listen
      @session.listen
      nil
    end

    def command_events(filter)
      @session.journal.select(filter)
    end

    def command_wait(filter, count, timeout)
      @session.journal.wait(filter, count, timeout)
    end
  end
end
