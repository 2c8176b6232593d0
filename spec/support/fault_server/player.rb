# frozen_string_literal: true

require_relative "upstream"
require_relative "wire"

class FaultServer
  # Plays the steps of one scripted response on one connection. Reply records the steps.
  class Player
    # Statuses whose responses have no body, even with a Content-Length.
    BODILESS = [204, 304].freeze

    def initialize(connection, request, session)
      @connection = connection
      @request = request
      @session = session
      @responses = []
      @keep = true
      @sent = 0
    end

    # Plays all steps. Returns whether the connection can serve another request.
    def play(steps)
      steps.each { |name, *arguments| send("play_#{name}", *arguments) }
      @keep
    rescue Upstream::Failed => e
      @session.journal.record(:upstream_failed, number: @request[:number], message: e.message)
      @connection.rst
    end

    private

    def play_respond(status, reason, headers, body, length)
      headers = headers.merge("content-length" => length) unless BODILESS.include?(status)
      play_raw(head_bytes(status, reason, headers) + (body?(status) ? body : ""))
    end

    def play_head(status, reason, headers, chunked)
      @keep = false unless chunked
      headers = headers.merge("transfer-encoding" => "chunked") if chunked
      play_raw(head_bytes(status, reason, headers))
    end

    def play_chunk(bytes)
      play_raw(Wire.chunk(bytes))
    end

    # Sends bytes in pieces of the scripted size, up to the scripted cut.
    def play_raw(bytes)
      left = @cut_after ? [@cut_after - @sent, bytes.bytesize].min : bytes.bytesize
      each_piece(bytes.byteslice(0, left)) do |piece|
        @connection.write(piece)
        @sent += piece.bytesize
      end
      @connection.public_send(@cut_with) if @cut_after && @sent >= @cut_after
    end

    def play_pieces(size, every)
      @piece_size = size
      @piece_pause = every
    end

    def play_cut(after, with)
      @cut_after = after
      @cut_with = with
    end

    def play_wait(gate, patient)
      @connection.wait_at(gate, patient: patient)
    end

    def play_signal(gate)
      @session.gates.release(gate, 1)
    end

    def play_pause(seconds)
      @connection.pause(seconds)
    end

    def play_read_body
      head = Wire::Head.new(nil, @request[:headers])
      @request[:body] = Wire.read_body(@connection.reader, head)
    end

    def play_fin
      @connection.fin
    end

    def play_rst
      @connection.rst
    end

    def play_forward(url)
      @responses << Upstream.new(url).exchange(@request)
    end

    def play_send_response(index)
      response = @responses.fetch(index)
      headers = response.head.headers.reject { |name, _| Upstream::PER_CONNECTION.include?(name.downcase) }
      headers << ["content-length", response.body.bytesize] unless BODILESS.include?(response.status) || head?
      play_raw(Wire.head(response.head.first_line, headers) + (body?(response.status) ? response.body : ""))
    end

    def play_pass(url)
      @keep = false
      Upstream.new(url).relay(@request, @connection) { |bytes| play_raw(bytes) }
    end

    def each_piece(bytes)
      return yield(bytes) unless @piece_size

      (0...bytes.bytesize).step(@piece_size) do |start|
        @connection.pause(@piece_pause) if @piece_pause.positive? && @sent.positive?
        yield bytes.byteslice(start, @piece_size)
      end
    end

    def head_bytes(status, reason, headers)
      fields = headers.flat_map { |name, value| Array(value).map { |one| [name.to_s, one.to_s] } }
      @keep = false if fields.any? { |name, value| name.casecmp?("connection") && value.casecmp?("close") }
      Wire.head("HTTP/1.1 #{status} #{reason}", fields)
    end

    def body?(status)
      !head? && !BODILESS.include?(status)
    end

    def head?
      @request && @request[:verb] == "HEAD"
    end
  end
end
