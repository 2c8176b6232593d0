# frozen_string_literal: true

require "json"
require "time"

class FaultServer
  # A scripted response. Records its steps in the order in which the server will play them. It runs in the spec's
  # process and records plain data.
  #
  #   server.on("GET", "/slow") do |reply|
  #     reply.wait(:go)                                # until the spec calls server.release(:go)
  #     reply.cut(after: 100, with: :rst)              # resets the connection after the 100th byte
  #     reply.respond(200, "hello", "etag" => "1")
  #   end
  class Reply
    # The steps, as Arrays of a name and arguments.
    attr_reader :steps

    def initialize
      @steps = []
    end

    # A whole response with a Content-Length. Headers are passed like keywords: `"etag" => "1"`, or with an Array for a
    # header that occurs several times. `length:` sends another Content-Length: with one longer than the body, closing
    # the connection (`fin`, `rst`) truncates the body. HEAD, 204 and 304 get no body.
    def respond(status = 200, body = "", length: body.bytesize, reason: "Scripted", **headers)
      step(:respond, status, reason, headers, body.b, length)
    end

    # The head of a response. Its body follows in `chunk`s and ends with `finish`; with `chunked: false` it follows in
    # `raw` bytes and ends with `fin`. Headers as in `respond`.
    def head(status = 200, chunked: true, reason: "Scripted", **headers)
      step(:head, status, reason, headers, chunked)
    end

    # One chunk of a chunked body; with `size:`, several chunks of at most that many bytes.
    def chunk(bytes, size: nil)
      pieces = size ? (0...bytes.bytesize).step(size).map { |start| bytes.byteslice(start, size) } : [bytes]
      pieces.each { |piece| step(:chunk, piece.b) }
      self
    end

    # The end of a chunked body.
    def finish
      raw("0\r\n\r\n")
    end

    # Bytes as they are: garbage, or anything else that the other steps cannot express.
    def raw(bytes)
      step(:raw, bytes.b)
    end

    # Sends everything that follows in pieces of `size` bytes, each in its own write, `every` seconds apart.
    def pieces(size, every: 0)
      step(:pieces, size, every)
    end

    # Closes the connection with :fin or :rst once `after` bytes of this response are sent.
    def cut(after:, with: :fin)
      step(:cut, after, with)
    end

    # Waits at a gate until the spec releases it. If the client closes the connection meanwhile, the response ends; with
    # `patient: true` its remaining steps are still played after the release, as for a request that reaches the server
    # after its client gave up.
    def wait(gate, patient: false)
      step(:wait, gate, patient)
    end

    # Lets one waiting response pass a gate, as `FaultServer#release` does.
    def signal(gate)
      step(:signal, gate)
    end

    # Waits for this many seconds. Only for examples about time; others use `wait`.
    def delay(seconds)
      step(:pause, seconds)
    end

    # Does nothing more until the client closes.
    def hang
      step(:pause, nil)
    end

    # Reads the request's body, for a rule with `read_body: false`.
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

    # A redirect. `location` is sent as it is: a path, `//host/path` or a URL.
    def redirect(location, status = 307, **headers)
      respond(status, **headers, "location" => location)
    end

    # A response with Retry-After: seconds, or a Time for an HTTP date.
    def retry_after(after, status = 429, **headers)
      respond(status, **headers, "retry-after" => after.is_a?(Time) ? after.httpdate : after.to_s)
    end

    # A response to a catch-up or long-poll read.
    def read(body, next_offset:, status: 200, type: "application/json", cursor: nil, up_to_date: true, closed: false)
      respond(status, body, **{
        "content-type" => type, "stream-next-offset" => next_offset, "stream-cursor" => cursor,
        "stream-up-to-date" => up_to_date ? "true" : nil, "stream-closed" => closed ? "true" : nil
      }.compact)
    end

    # The head of an SSE response. Events follow, then `finish` for an orderly end. `type:` is the content type of the
    # data events.
    def sse(base64: false, type: nil)
      head(200, **{
        "content-type" => "text/event-stream", "cache-control" => "no-cache", "stream-data-content-type" => type,
        "stream-sse-data-encoding" => base64 ? "base64" : nil
      }.compact)
    end

    # An SSE event with any name, as one chunk.
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

    # Sends the request to a real server and stores the whole response for `send_response`. Each call sends the request
    # again. If the real server cannot be reached, the connection is reset.
    def forward(url)
      step(:forward, url)
    end

    # Sends a response that `forward` stored: the last one, or the one with this index.
    def send_response(index = -1)
      step(:send_response, index)
    end

    # Sends the request to a real server and passes the response on as it arrives: for long responses such as SSE.
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
