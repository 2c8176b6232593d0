# frozen_string_literal: true

require "socket"
require_relative "session"

class FaultServer
  # Answers the specs' commands. A command is one connection to a Unix socket: a marshalled Array comes in, a marshalled
  # answer goes out. So any thread, fiber or forked child of a spec may give commands, also while others wait.
  class Control
    def initialize(path)
      @socket = UNIXServer.new(path)
      @session = Session.new
    end

    # The port of the session that is on.
    def port
      @session.port
    end

    # Serves commands for ever.
    def serve
      loop do
        client = @socket.accept
        Thread.new { answer(client) }
      end
    end

    private

    def answer(client)
      name, *arguments = Marshal.load(client) # rubocop:disable Security/MarshalLoad
      reply = begin
        [:ok, send("command_#{name}", *arguments)]
      rescue StandardError => e
        [:error, e.full_message(highlight: false)]
      end
      Marshal.dump(reply, client)
    rescue EOFError, SystemCallError
      nil # Whoever asked is not there any more, as when a thread is killed while it waits.
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
