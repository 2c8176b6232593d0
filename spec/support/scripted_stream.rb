# frozen_string_literal: true

# A stream whose native reader plays a script, to test the Ruby part of readers. It behaves as the extension does, and
# counts the calls of its methods.
class ScriptedStream
  # One server response: its content in the parts in which it arrives, and the position after it.
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

  # The content type, for any purpose.
  def known_content_type(_purpose = nil)
    @known_content_type
  end

  def native_reader(**options)
    @native.opened_with = options
    @native
  end

  # Stands for DurableStreams::Native::Reader.
  class Native
    attr_accessor :opened_with, :failure
    attr_reader :cancels, :takes

    def initialize(responses, json)
      @responses = responses
      @json = json
      @parts = nil
      @cancels = @takes = 0
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
      @takes += 1
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
