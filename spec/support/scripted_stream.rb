# frozen_string_literal: true

# A stream whose native reader answers from a script, for what readers do in Ruby: it keeps the promises that the
# extension makes to lib, and counts what it is asked.
class ScriptedStream
  # One server response: its content in the parts in which it arrives, and what its end says.
  Response = Struct.new(:parts, :next_offset, :up_to_date, :stream_closed, keyword_init: true) do
    def position
      [next_offset, "c#{next_offset}", up_to_date || false, stream_closed || false]
    end
  end

  attr_reader :url, :context, :native

  def initialize(*responses, content_type: "application/json", context: DurableStreams.new_context)
    @url = "http://user:secret@host/stream?token=secret"
    @context = context
    @known_content_type = content_type
    @native = Native.new(responses.map { |response| Response.new(**response) }, content_type == "application/json")
  end

  # The content type, whatever it is asked for.
  def known_content_type(_purpose = nil)
    @known_content_type
  end

  def native_reader(*arguments)
    @native.opened_with = arguments
    @native
  end

  # What DurableStreams::Native::Reader is to a reader.
  class Native
    attr_accessor :opened_with, :failure
    attr_reader :cancels, :asked

    def initialize(responses, json)
      @responses = responses
      @json = json
      @parts = nil
      @cancels = @asked = 0
      @closed = false
    end

    def status
      200
    end

    def next_batch(received)
      parts = take_response or return
      response = @responses.shift
      @parts = nil
      received.push(join(parts), response.position)
    end

    def next_items(received)
      parts = take_response or return
      return received.push(parts.shift, nil) if parts.size > 1

      part = parts.shift || (@json ? [] : "")
      @parts = nil
      received.push(part, @responses.shift.position)
    end

    def cancel
      @cancels += 1
      nil
    end

    def close
      @closed = true
      nil
    end

    private

    def take_response
      @asked += 1
      raise @failure if @failure
      return if @closed || (@parts.nil? && @responses.empty?)

      @parts = @responses.first.parts.dup if @parts.nil?
      @parts
    end

    def join(parts)
      @json ? parts.sum([]).freeze : parts.join
    end
  end
end
