# frozen_string_literal: true

require "rspec/expectations"

# Passes if the stream at a path has a message. With data, a message must match it, as for
# DurableStreams::Testing::Helpers#assert_appended_to. The data may contain RSpec matchers. Messages that producers have
# not sent yet are sent first.
#
#   expect(DurableStreams::Testing).to have_appended_to("/events").with(type: "order.created")
RSpec::Matchers.define :have_appended_to do |path|
  match do |_|
    DurableStreams::Testing.flush_producers
    messages = DurableStreams::Testing.messages_for(path)
    next !messages.empty? unless defined?(@data)

    messages.any? { |message| DurableStreams::Testing::Matching.match?(@data, message) }
  end

  chain(:with) { |data| @data = data }

  failure_message do
    "expected that #{expectation}, but #{DurableStreams::Testing::Matching.state_of(path)}"
  end

  failure_message_when_negated { "unexpected: #{expectation}" }

  description { "have appended to #{path}" }

  define_method(:expectation) do
    defined?(@data) ? "a message like #{@data.inspect} was appended to #{path}" : "something was appended to #{path}"
  end
end

# Passes if a request was made. With a path, it must match the request's. With a body, a String must be part of the
# request's body; any other value must match its JSON.
#
#   expect(DurableStreams::Testing).to have_made_request(:post).to("/events").with_body("order.created")
RSpec::Matchers.define :have_made_request do |method|
  match do |_|
    DurableStreams::Testing.requests.any? do |request|
      request[:method] == method && (@path.nil? || request[:path] == @path) &&
        (@body.nil? || DurableStreams::Testing::Matching.match_body?(@body, request[:body]))
    end
  end

  chain(:to) { |path| @path = path && DurableStreams::Testing::MockPath.of(path) }
  chain(:with_body) { |body| @body = body }

  failure_message do
    made = DurableStreams::Testing.requests.map { |request| "#{request[:method]} #{request[:path]}" }
    made << "none" if made.empty?
    made << "(#{DurableStreams::Testing::Matching::NOT_INSTALLED})" unless DurableStreams::Testing.installed?
    "expected #{expectation}, but got: #{made.join(", ")}"
  end

  failure_message_when_negated { "expected no #{expectation}" }

  description { "have made a #{expectation}" }

  define_method(:expectation) do
    "#{method} request#{" to #{@path}" if @path}#{" with body #{@body.inspect}" if @body}"
  end
end
