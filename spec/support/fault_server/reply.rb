# frozen_string_literal: true

require "json"
require "time"

class FaultServer
  # Records the steps of a reply, in the order in which they are to be played. Runs in the spec; records plain data.
  #
  #   server.on("GET", "/slow") do |reply|
  #     reply.wait(:go)                                # until the spec says server.release(:go)
  #     reply.cut(after: 100, with: :rst)              # nothing after the 100th byte but a reset
  #     reply.respond(200, "hello", "etag" => "1")
  #   end
  class Reply
    # The steps, as Arrays of a name and arguments.
    attr_reader :steps

    def initialize
      @steps = []
    end

    # A whole answer with a Content-Length; its headers are given like keywords: `"etag" => "1"`, with an Array for a
    # header that comes several times. `length:` announces another Content-Length: more than the body has is a body that
    # is truncated, once the connection is closed (`fin`, `rst`). The body is left out for HEAD, 204 and 304.
    def respond(status = 200, body = "", length: body.bytesize, reason: "Scripted", **headers)
      step(:respond, status, reason, headers, body.b, length)
    end

    # The head of an answer whose body follows in `chunk`s and ends with `finish`; with `chunked: false`, in `raw` bytes
    # up to `fin`. Headers as in `respond`.
    def head(status = 200, chunked: true, reason: "Scripted", **headers)
      step(:head, status, reason, headers, chunked)
    end

    # One chunk of a chunked body; with `size:`, as many chunks of at most so many bytes as it takes.
    def chunk(bytes, size: nil)
      pieces = size ? (0...bytes.bytesize).step(size).map { |start| bytes.byteslice(start, size) } : [bytes]
      pieces.each { |piece| step(:chunk, piece.b) }
      self
    end

    # The end of a chunked body.
    def finish
      raw("0\r\n\r\n")
    end

    # Bytes as they are: garbage, or anything else that the other steps cannot say.
    def raw(bytes)
      step(:raw, bytes.b)
    end

    # From here on everything goes out in pieces of so many bytes, each a write of its own, with so many seconds between
    # them.
    def pieces(size, every: 0)
      step(:pieces, size, every)
    end

    # Closes the connection when so many bytes of this reply are out, with :fin or :rst.
    def cut(after:, with: :fin)
      step(:cut, after, with)
    end

    # Waits at a gate until the spec lets it pass. A client that closes ends the reply; with `patient: true` the reply
    # goes on all the same when it is let pass, like a request that is still on its way when its sender has given up.
    def wait(gate, patient: false)
      step(:wait, gate, patient)
    end

    # Lets one waiter pass a gate, as `FaultServer#release` does.
    def signal(gate)
      step(:signal, gate)
    end

    # Waits for so many seconds: for what is about time itself. Otherwise `wait`.
    def delay(seconds)
      step(:pause, seconds)
    end

    # Never does anything again, until the client closes.
    def hang
      step(:pause, nil)
    end

    # Reads the request's body, of a rule with `read_body: false`.
    def read_body
      step(:read_body)
    end

    # Closes the connection in an orderly way.
    def fin
      step(:fin)
    end

    # Closes the connection with a reset.
    def rst
      step(:rst)
    end

    # A redirect to a location as it is given: a path, `//host/path`, a URL.
    def redirect(location, status = 307, **headers)
      respond(status, **headers, "location" => location)
    end

    # A refusal with Retry-After: seconds, or a Time for an HTTP date.
    def retry_after(after, status = 429, **headers)
      respond(status, **headers, "retry-after" => after.is_a?(Time) ? after.httpdate : after.to_s)
    end

    # An answer to a catch-up or long-poll read.
    def read(body, next_offset:, status: 200, type: "application/json", cursor: nil, up_to_date: true, closed: false)
      respond(status, body, **{
        "content-type" => type, "stream-next-offset" => next_offset, "stream-cursor" => cursor,
        "stream-up-to-date" => up_to_date ? "true" : nil, "stream-closed" => closed ? "true" : nil
      }.compact)
    end

    # The head of an SSE answer. Events follow, then `finish` for an orderly end.
    def sse(base64: false)
      headers = { "content-type" => "text/event-stream", "cache-control" => "no-cache" }
      head(200, **headers, **(base64 ? { "stream-sse-data-encoding" => "base64" } : {}))
    end

    # An SSE event of any name, as one chunk.
    def event(name, data)
      lines = data.split(/\r\n|\r|\n/, -1)
      lines = [""] if lines.empty?
      chunk("event: #{name}\n#{lines.map { |line| "data: #{line}\n" }.join}\n")
    end

    # An SSE data event.
    def data(payload)
      event("data", payload)
    end

    # An SSE control event.
    def control(next_offset, cursor: "1", up_to_date: false, closed: false)
      fields = { streamNextOffset: next_offset, streamCursor: closed ? nil : cursor }
      event("control", fields.merge(upToDate: up_to_date || nil, streamClosed: closed || nil).compact.to_json)
    end

    # Sends the request to a real server and keeps the whole answer for `answer`. Twice is twice. If the real server
    # cannot be reached the connection is reset.
    def forward(url)
      step(:forward, url)
    end

    # Sends the answer of a `forward`: the last, or the one with that index.
    def answer(index = -1)
      step(:answer, index)
    end

    # Sends the request to a real server and the answer back as it comes: for answers that take long, such as SSE.
    def pass(url)
      step(:pass, url)
    end

    private

    def step(*step)
      @steps << step
      self
    end
  end
end
