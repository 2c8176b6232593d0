# frozen_string_literal: true

require_relative "fault_server"

# Helpers for example groups with `:faults`: the fault server, a client that retries quickly, and every kind of request.
module FaultHelpers
  # A kind of request. `verb` is the HTTP method, `call` the operation that sends the request, `repeated` whether the
  # client sends it again after a lost response, `reply` the status and headers of its success, `result` what the
  # operation then returns.
  RequestKind = Struct.new(:verb, :call, :repeated, :reply, :result, keyword_init: true) do
    # Sends the request. The stream's handle must know its content type.
    def send_on(stream)
      call.call(stream)
    end

    # Scripts the response of a success.
    def respond_to(reply)
      status, headers = self.reply
      reply.respond(status, "", **headers)
    end

    # Whether `value` is what the operation returns after a success.
    def success?(value)
      result === value # rubocop:disable Style/CaseEquality
    end
  end

  OFFSET = { "stream-next-offset" => "7" }.freeze
  JSON_TYPE = { "content-type" => "application/json" }.freeze
  appended = ->(result) { result.next_offset == "7" }
  closed = ->(result) { result.final_offset == "7" }

  # Every kind of request that is not a read.
  REQUESTS = {
    "create" => RequestKind.new(
      verb: "PUT", repeated: true, reply: [201, OFFSET.merge(JSON_TYPE)],
      call: ->(stream) { stream.create }, result: DurableStreams::Stream
    ),
    "head" => RequestKind.new(
      verb: "HEAD", repeated: true, reply: [200, OFFSET.merge(JSON_TYPE)],
      call: ->(stream) { stream.head }, result: ->(head) { head.next_offset == "7" }
    ),
    "append" => RequestKind.new(
      verb: "POST", repeated: false, reply: [204, OFFSET],
      call: ->(stream) { stream.append({ "a" => 1 }) }, result: appended
    ),
    "append with seq" => RequestKind.new(
      verb: "POST", repeated: true, reply: [204, OFFSET],
      call: ->(stream) { stream.append({ "a" => 1 }, seq: "1") }, result: appended
    ),
    "close_stream" => RequestKind.new(
      verb: "POST", repeated: true, reply: [204, OFFSET],
      call: ->(stream) { stream.close_stream }, result: closed
    ),
    "close_stream with data" => RequestKind.new(
      verb: "POST", repeated: false, reply: [204, OFFSET],
      call: ->(stream) { stream.close_stream(data: 1) }, result: closed
    ),
    "delete" => RequestKind.new(
      verb: "DELETE", repeated: true, reply: [204, {}],
      call: ->(stream) { stream.delete }, result: NilClass
    )
  }.freeze

  # A policy that gives up after two retries, within milliseconds.
  QUICK = { max_retries: 2, initial_delay: 0.001, max_delay: 0.05 }.freeze

  # @return [FaultServer] reset for every example
  def faults
    @faults ||= FaultServer.shared
  end

  # @return [DurableStreams::Client] a client of the fault server, closed after the example
  def fault_client(retries: QUICK, base_url: faults.url, **options)
    policy = DurableStreams::RetryPolicy.new(**retries)
    DurableStreams::Client.new(base_url: base_url, retry_policy: policy, **options).tap { |made| clients << made }
  end

  # @return [DurableStreams::Stream] the stream /s of the fault server, JSON by default
  def fault_stream(type: :json, **options)
    fault_client(**options).stream("/s", content_type: type)
  end

  # Runs the block in a thread. The thread's `value` is the block's value or the error that it raised.
  def in_thread
    thread = Thread.new do
      yield
    rescue StandardError => e
      e
    end
    threads << thread
    thread
  end

  # @api private
  def clients
    @clients ||= []
  end

  # @api private
  def threads
    @threads ||= []
  end
end

# For examples about the Ruby process. Its client retries by the default policy.
RSpec.shared_context "with a client of the fault server" do
  let(:faults) { FaultServer.shared }
  # Options for Client.new besides the URL.
  let(:client_options) { {} }
  let(:client) { DurableStreams::Client.new(base_url: faults.url, **client_options) }
  let(:stream) { client.stream("/s", content_type: "application/json") }

  after { client.close }
end

RSpec.configure do |config|
  config.include FaultHelpers, :faults
  config.after(:each, :faults) do
    threads.each { |thread| thread.kill.join }
    clients.each(&:close)
  end
end
