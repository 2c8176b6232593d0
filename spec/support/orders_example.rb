# frozen_string_literal: true

require "json"
require "net/http"
require "open3"
require "rbconfig"
require "timeout"
require_relative "node_server"

# The program examples/orders.
class OrdersExample
  SCRIPT = File.expand_path("../../examples/orders/start.rb", __dir__)
  # Seconds that anything may take.
  LIMIT = 90

  # @return [String, nil] the reason why it cannot run here
  def self.missing
    NodeServer.missing
  end

  # Starts it, and waits until it takes orders.
  # @param folder [String, nil] where the signals leave files
  # @param signals [Hash{String => String}] signals that its processes send themselves, by place: see SignalAt
  def initialize(folder = nil, signals: {})
    @folder = folder
    environment = { "PORT" => "0", "LEASE_TTL" => "2" }
    environment.update(environment_of(signals)) unless signals.empty?
    @lines = []
    @lock = Mutex.new
    @more = ConditionVariable.new
    @input, output, @waiter = Open3.popen2e(environment, RbConfig.ruby, SCRIPT)
    @ended = false
    @collector = Thread.new { collect(output) }
    @url = URI(wait_for(/Listening on (\S+)/)[1])
    @streams_url = wait_for(/^streams: (http\S+)/)[1]
    @database = wait_for(/^database: (\S+)/)[1]
    2.times { |number| wait_for(/Worker #{number} \(PID: \d+\) booted/) }
  end

  # @return [URI] of the page
  attr_reader :url
  # @return [String]
  attr_reader :streams_url

  # Places an order, by the same number again until there is a response.
  # @return [Net::HTTPResponse]
  def order(number, product: "apples", quantity: 1)
    body = JSON.generate(number: number, product: product, quantity: quantity)
    Timeout.timeout(LIMIT) do
      Net::HTTP.post(URI.join(url, "/orders"), body)
    rescue SystemCallError, IOError
      raise "it has ended:\n#{log}" if @ended

      retry
    end
  end

  # @return [Array<Integer>] the processes that ship orders
  def workers
    log.scan(/^(worker \d+): process (\d+)$/).to_h.values.map(&:to_i)
  end

  # @return [Array<Integer>] the processes of Puma that have the application
  def web_processes
    log.scan(/Worker (\d+) \(PID: (\d+)\) booted/).to_h.values.map(&:to_i)
  end

  # @param path [String] such as "state"
  # @return [DurableStreams::Stream]
  def stream(path)
    DurableStreams::Client.new(base_url: @streams_url).stream(path, content_type: :json)
  end

  # Waits until the state that the page shows satisfies the block.
  # @return [DurableStreams::State::Materialized]
  def wait_for_state
    state = DurableStreams::State::Materialized.new
    Timeout.timeout(LIMIT) do
      DurableStreams::State.follow(stream("/state"), state: state) { break state if yield state }
    end
  rescue Timeout::Error
    raise "the state is still #{state.inspect}; shipped: #{query("select count(*) from shipments")}, " \
          "checkpoints: #{query("select name, offset from checkpoints")}, not published: " \
          "#{query("select number from orders where not published")}"
  end

  # @return [Array<Array>] rows
  def query(sql)
    require "sqlite3"
    database = SQLite3::Database.new(@database)
    database.busy_timeout = 10_000
    database.execute(sql)
  ensure
    database&.close
  end

  # @param place [String] see SignalAt
  # @return [Integer, nil] the process that came there first
  def signaled(place)
    Integer(File.read(File.join(@folder, place)))
  rescue Errno::ENOENT
    nil
  end

  # Waits for a line of the output.
  # @return [MatchData]
  def wait_for(pattern)
    deadline = Clock.now + LIMIT
    @lock.synchronize do
      loop do
        match = pattern.match(@lines.join)
        return match if match
        raise "no #{pattern.inspect} in:\n#{@lines.join}" if @ended || Clock.now > deadline

        @more.wait(@lock, [deadline - Clock.now, 0].max)
      end
    end
  end

  # Sends a signal to a process of it, if that has not ended. (The ids of ended processes are soon used again.)
  def signal(name, pid)
    Process.kill(name, pid) if processes.key?(pid)
  rescue Errno::ESRCH
    nil
  end

  # Ends it in order.
  # @return [Process::Status]
  def stop
    Process.kill(:TERM, @waiter.pid)
    @waiter.join(LIMIT) or raise "it does not end:\n#{log}"
    @waiter.value
  end

  # Ends what is left of it.
  def kill
    signal(:STOP, @waiter.pid) # It starts no more processes.
    processes.keys.reverse_each { |pid| signal(:KILL, pid) }
    @waiter.join
    @input.close
    @collector.kill.join
  end

  # @return [Hash{Integer => String}] its processes: id => command
  def processes
    all = self.class.processes
    ids = @waiter.alive? ? [@waiter.pid] : []
    ids.each { |id| ids.concat(all.select { |_, (parent, _)| parent == id }.keys) }
    ids.to_h { |id| [id, all[id]&.last] }
  end

  # @return [Hash{Integer => Array(Integer, String)}] all processes of this machine: id => parent and command
  def self.processes
    `ps -eo pid=,ppid=,args=`.lines.to_h do |line|
      id, parent, command = line.strip.split(/\s+/, 3)
      [id.to_i, [parent.to_i, command]]
    end
  end

  # @return [String] the output so far
  def log
    @lock.synchronize { @lines.join }
  end

  private

  def environment_of(signals)
    { "SIGNAL_AT" => signals.map { |pair| pair.join("=") }.join(","), "SIGNAL_FOLDER" => @folder,
      "RUBYOPT" => "-r#{File.expand_path("signal_at.rb", __dir__)}" }
  end

  # At the end of the output, all its processes have ended.
  def collect(output)
    loop do
      line = output.gets
      @lock.synchronize do
        line ? @lines << line : @ended = true
        @more.broadcast
      end
      break unless line
    end
  end
end
