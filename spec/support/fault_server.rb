# frozen_string_literal: true

require "rbconfig"
require "socket"
require "tmpdir"
require_relative "fault_server/reply"
require_relative "gc_pressure"

# An HTTP server that responds as a spec scripts it, with faults too. It runs in its own process, so that the threads
# and locks of the tested process do not affect it.
#
#   server = FaultServer.start
#   server.next("GET", "/s") { |reply| reply.rst }                       # resets the first request's connection
#   server.on("GET", "/s") { |reply| reply.respond(200, "hello") }       # responds to all others
#   … use server.url …
#   server.wait_for_request(2).header("accept")                          # waits for the second request
#   server.stop
#
# Specs need no sleep: a response waits at gates (Reply#wait) that the spec opens, and the spec waits for events that
# the server has recorded. Every wait ends after `timeout:` seconds. Timeout then lists the events so far.
class FaultServer
  # Seconds to wait for an expected event. Less than a client's default timeout of 30 seconds: a request that should end
  # and does not must fail the example before that timeout ends it.
  TIMEOUT = 20 * GCPressure::SLOWER

  # An expected event did not happen in time.
  class Timeout < StandardError; end

  # The server itself failed, or does not respond to commands.
  class Failure < StandardError; end

  # A request as the server received it. `verb` is its method, `headers` are [name, value] pairs in order, `query` is
  # undecoded (nil without one), `params` is the query as a Hash. `body` is nil if the response started before the body
  # was read. `connection` and `number` count from 1. `time` is in seconds of CLOCK_MONOTONIC.
  Request = Struct.new(:number, :connection, :verb, :target, :path, :query, :params, :headers, :body, :time,
                       keyword_init: true) do
    # The value of a header, or nil. Ignores the case of its name. Joins several values by ", ".
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

  # The server that the whole run shares, reset. Starts at the first call and ends with this process.
  def self.shared
    @shared ? @shared.reset : @shared = start
  end

  # Its port on 127.0.0.1. `reset` changes it.
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

  # Scripts the response to requests. `method` nil matches any. `path` (without the query) is a String, a Regexp or nil.
  # `query:` is a Hash of required parameters, with Strings or Regexps. The block records the Reply. The latest matching
  # rule applies, but rules with `times:` come first, in their order. With `read_body: false` the response starts before
  # the request's body is read. Returns self.
  def on(method = nil, path = nil, query: nil, times: nil, read_body: true, &block)
    command(:rule, verb: method&.to_s&.upcase, path: path, query: query, times: times, read_body: read_body,
                   steps: record(block))
    self
  end

  # Scripts the response to the next such request: `on` with `times: 1`. A second call scripts the one after it.
  def next(method = nil, path = nil, **options, &block)
    on(method, path, times: 1, **options, &block)
  end

  # Scripts what happens to the next connections before anything is read from them. If the steps do not close the
  # connection, it then serves requests as usual.
  def on_connect(times: 1, &block)
    command(:connect, record(block), times)
    self
  end

  # Passes every request without a more specific rule to a real server. SSE responses are passed on as they arrive,
  # others whole.
  def proxy(url)
    on { |reply| reply.forward(url).send_response }
    on(nil, nil, query: { "live" => "sse" }) { |reply| reply.pass(url) }
  end

  # Lets this many responses pass a gate, now or later.
  def release(gate, times = 1)
    command(:release, gate, times)
  end

  # Lets all responses pass a gate, now and later.
  def open(gate)
    command(:open, gate)
  end

  # Refuses new connections from now on. Open ones continue.
  def refuse_connections
    command(:refuse)
  end

  # Accepts connections again, at the same port.
  def accept_connections
    command(:listen)
  end

  # The requests so far.
  def requests(method: nil, path: nil)
    check_failures
    command(:events, request_filter(method, path)).map { |event| to_request(event) }
  end

  # The number of connections so far.
  def connections
    command(:events, { type: :connected }).size
  end

  # All events in order, as Hashes with a :type: :connected, :request, :waiting (at a gate), :responded, :closed
  # (`by:` :client or :server, `how:` :fin or :rst), :malformed, :upstream_failed.
  def events(**filter)
    command(:events, filter)
  end

  # Waits for the nth request (with this method and path) and returns it.
  def wait_for_request(nth = 1, method: nil, path: nil, timeout: TIMEOUT)
    to_request(wait(request_filter(method, path), nth, timeout))
  end

  # Waits for the nth connection and returns its number.
  def wait_for_connection(nth = 1, timeout: TIMEOUT)
    wait({ type: :connected }, nth, timeout)[:connection]
  end

  # Waits until this many responses have reached a gate, whether or not they have passed it since.
  def wait_until_waiting(gate, times = 1, timeout: TIMEOUT)
    wait({ type: :waiting, gate: gate }, times, timeout)
    nil
  end

  # Waits until the response to a request was played to its end.
  def wait_until_responded(number, timeout: TIMEOUT)
    wait({ type: :responded, number: number }, 1, timeout)
    nil
  end

  # Waits until a connection (nil: any) is closed by :client or :server (nil: either). Returns :fin or :rst.
  def wait_until_closed(connection = nil, by: nil, timeout: TIMEOUT)
    wait({ type: :closed, connection: connection, by: by }.compact, 1, timeout)[:how]
  end

  # Removes rules, requests and gates, closes all connections and listens at another port, so that an earlier example
  # cannot affect a later one. Returns self.
  def reset
    @port = command(:reset)
    self
  end

  # Ends the server. Does nothing in a forked child: the server belongs to the parent.
  def stop
    return unless @pid && Process.pid == @owner

    # Closing the lifeline is not enough: a forked child that still runs holds it open too.
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

    raise Timeout, "waited #{timeout} s for event number #{count} of #{filter}; events so far:\n#{story.join("\n")}"
  end

  def story
    command(:events, {}).map { |event| event.reject { |field, _| %i[headers params body].include?(field) }.to_s }
  end

  def check_failures
    failures = command(:events, { type: :failure })
    raise Failure, failures.map { |event| event[:message] }.join("\n") unless failures.empty?
  end

  def command(*command)
    status, result = UNIXSocket.open(@path) do |socket|
      Marshal.dump(command, socket)
      Marshal.load(socket) # rubocop:disable Security/MarshalLoad
    end
    raise Failure, result if status == :error

    result
  end
end
