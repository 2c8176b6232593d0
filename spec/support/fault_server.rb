# frozen_string_literal: true

require "rbconfig"
require "socket"
require "tmpdir"
require_relative "fault_server/reply"
require_relative "gc_pressure"

# An HTTP server that does what a spec tells it to, faults included, in a process of its own: what the tested process
# does with its threads and locks does not matter to it.
#
#   server = FaultServer.start
#   server.next("GET", "/s") { |reply| reply.rst }                       # the first request: a reset
#   server.on("GET", "/s") { |reply| reply.respond(200, "hello") }       # all others
#   … use server.url …
#   server.wait_for_request(2).header("accept")                          # waits for it, with a bound
#   server.stop
#
# Nothing here sleeps: a reply waits at gates (Reply#wait) that the spec opens, and the spec waits for what the server
# has seen. Waiting is bounded by `timeout:` seconds, and Timeout says what had happened by then.
class FaultServer
  # How long to wait for something that is about to happen, in seconds: less than the 30 after which a client that does
  # not end what it should end gives up by itself.
  PATIENCE = 20 * GCPressure::SLOWER

  # What was waited for did not happen.
  class Timeout < StandardError; end

  # The server itself went wrong, or does not answer.
  class Failure < StandardError; end

  # A request as it came: `verb` is its method, `headers` are [name, value] pairs in order, `query` is undecoded (nil
  # without one), `params` is the query as a Hash, `body` is nil where the reply came before it was read, `connection`
  # and `number` count from 1, `time` is in seconds of CLOCK_MONOTONIC.
  Request = Struct.new(:number, :connection, :verb, :target, :path, :query, :params, :headers, :body, :time,
                       keyword_init: true) do
    # The value of a header, in any case of its name; nil without one; joined by ", " if there are several.
    def header(name)
      values = headers.select { |header, _| header.casecmp?(name) }.map(&:last)
      values.join(", ") unless values.empty?
    end
  end

  # Starts a server. With a block: yields it, stops it and returns the block's value.
  def self.start
    server = new
    return server unless block_given?

    begin
      yield server
    ensure
      server.stop
    end
  end

  # One server for the whole run, reset: started at the first call, gone with this process.
  def self.shared
    @shared ? @shared.reset : @shared = start
  end

  # The port that it listens at, on 127.0.0.1. `reset` changes it.
  attr_reader :port

  def initialize
    @path = File.join(Dir.mktmpdir("fault"), "control")
    input, @lifeline = IO.pipe
    output, output_end = IO.pipe
    main = File.expand_path("fault_server/main.rb", __dir__)
    @pid = Process.spawn(RbConfig.ruby, "--disable=gems", main, @path, in: input, out: output_end)
    @owner = Process.pid
    [input, output_end].each(&:close)
    @port = Integer(output.gets || raise(Failure, "the fault server did not start"), 10)
    output.close
  end

  # The URL of a path on this server.
  def url(path = "")
    "http://127.0.0.1:#{port}#{path}"
  end

  # Scripts what requests get. `method` nil is any; `path` (without the query) is a String, a Regexp or nil; `query:` is
  # a Hash of parameters that must be there, with Strings or Regexps. The block records the Reply. The latest rule that
  # matches counts, but rules with a limited number of `times:` go first, in their order. With `read_body: false` the
  # reply starts before the request's body is read. Returns self.
  def on(method = nil, path = nil, query: nil, times: nil, read_body: true, &block)
    command(:rule, verb: method&.to_s&.upcase, path: path, query: query, times: times, read_body: read_body,
                   steps: record(block))
    self
  end

  # Scripts what the next such request gets: `on` with `times: 1`. Called again, what the one after it gets.
  def next(method = nil, path = nil, **options, &block)
    on(method, path, times: 1, **options, &block)
  end

  # Scripts what happens to the next connections before anything is read from them. A reply that does not close leaves
  # an ordinary connection.
  def on_connect(times: 1, &block)
    command(:connect, record(block), times)
    self
  end

  # Sends every request without a rule of its own to a real server, SSE as it comes and the rest whole.
  def proxy(url)
    on { |reply| reply.forward(url).answer }
    on(nil, nil, query: { "live" => "sse" }) { |reply| reply.pass(url) }
  end

  # Lets so many waiters pass a gate, those to come included.
  def release(gate, times = 1)
    command(:release, gate, times)
  end

  # Lets all pass a gate, now and later.
  def open(gate)
    command(:open, gate)
  end

  # From now on connections are refused; those that are open go on.
  def refuse_connections
    command(:refuse)
  end

  # Takes connections again, at the same port.
  def accept_connections
    command(:listen)
  end

  # The requests so far.
  def requests(method: nil, path: nil)
    check_failures
    command(:events, request_filter(method, path)).map { |event| to_request(event) }
  end

  # How many connections were made so far.
  def connections
    command(:events, { type: :connected }).size
  end

  # All that happened, as Hashes with a :type, in order: :connected, :request, :waiting (at a gate), :answered, :closed
  # (`by:` :client or :server, `how:` :fin or :rst), :malformed, :upstream_failed.
  def events(**filter)
    command(:events, filter)
  end

  # Waits for the nth request (of a method, of a path) and returns it.
  def wait_for_request(nth = 1, method: nil, path: nil, timeout: PATIENCE)
    to_request(wait(request_filter(method, path), nth, timeout))
  end

  # Waits until so many connections were made.
  def wait_for_connection(nth = 1, timeout: PATIENCE)
    wait({ type: :connected }, nth, timeout)[:connection]
  end

  # Waits until so many replies have come to a gate, whether or not they have passed it since.
  def wait_until_waiting(gate, times = 1, timeout: PATIENCE)
    wait({ type: :waiting, gate: gate }, times, timeout)
    nil
  end

  # Waits until a request's reply was played to its end.
  def wait_until_answered(number, timeout: PATIENCE)
    wait({ type: :answered, number: number }, 1, timeout)
    nil
  end

  # Waits until a connection (nil: any) is closed by :client or :server (nil: either). Returns how: :fin or :rst.
  def wait_until_closed(connection = nil, by: nil, timeout: PATIENCE)
    wait({ type: :closed, connection: connection, by: by }.compact, 1, timeout)[:how]
  end

  # Forgets rules, requests and gates, closes all connections and listens at another port, so that nothing of an earlier
  # example can reach a later one. Returns self.
  def reset
    @port = command(:reset)
    self
  end

  # Ends the server. Nothing in a forked child, whose parent's server it is.
  def stop
    return unless @pid && Process.pid == @owner

    # Not by the lifeline alone: a forked child that lives on has the other end of it too.
    Process.kill(:TERM, @pid)
    Process.wait(@pid)
    @lifeline.close
    @pid = nil
  end

  private

  def record(block)
    reply = Reply.new
    block.call(reply)
    reply.steps
  end

  def request_filter(method, path)
    { type: :request, verb: method&.to_s&.upcase, path: path }.compact
  end

  def to_request(event)
    Request.new(**event.slice(*Request.members))
  end

  def wait(filter, count, timeout)
    event = command(:wait, filter, count, timeout)
    check_failures
    return event if event

    raise Timeout, "waited #{timeout} s for number #{count} of #{filter}; so far:\n#{story.join("\n")}"
  end

  def story
    command(:events, {}).map { |event| event.reject { |field, _| %i[headers params body].include?(field) }.to_s }
  end

  def check_failures
    failures = command(:events, { type: :failure })
    raise Failure, failures.map { |event| event[:message] }.join("\n") unless failures.empty?
  end

  def command(*command)
    status, answer = UNIXSocket.open(@path) do |socket|
      Marshal.dump(command, socket)
      Marshal.load(socket) # rubocop:disable Security/MarshalLoad
    end
    raise Failure, answer if status == :error

    answer
  end
end
