# frozen_string_literal: true

require "net/http"
require "uri"

module Bench
  # The protocol without a client library: creates the data that a line needs, and reads back what a client sent.
  module PlainHTTP
    # The maximal body of a request that fills a stream, in bytes.
    PIECE = 4 << 20

    module_function

    # @param url [String]
    # @param type [String] content type
    # @return [String] url
    def create(url, type = "application/json")
      request(url, Net::HTTP::Put.new(URI(url), "content-type" => type))
      url
    end

    # @param url [String] of a JSON stream
    # @param messages [Array<String>]
    def append_json(url, messages)
      size = messages.first.bytesize
      messages.each_slice([PIECE / size, 1].max) { |slice| append(url, Messages.array(slice), "application/json") }
    end

    # @param url [String]
    # @param body [String]
    # @param type [String] content type
    def append(url, body, type)
      post = Net::HTTP::Post.new(URI(url), "content-type" => type)
      post.body = body
      request(url, post)
    end

    # @param url [String]
    # @return [String] the stream's content
    def read(url)
      text = +"".b
      offset = "-1"
      loop do
        response = request(url, Net::HTTP::Get.new(URI("#{url}?offset=#{offset}")))
        text << response.body
        offset = response["stream-next-offset"]
        return text if response["stream-up-to-date"]
      end
    end

    def request(url, request)
      uri = URI(url)
      response = Net::HTTP.start(uri.host, uri.port) { |http| http.request(request) }
      raise "#{request.method} #{url}: #{response.code} #{response.body}" unless response.is_a?(Net::HTTPSuccess)

      response
    end
  end
end
