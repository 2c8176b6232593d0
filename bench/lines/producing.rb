# frozen_string_literal: true

module Bench
  # The producer with many small messages, until all are acknowledged.
  class Producing < Line
    line "producer", "producer, messages of 103 bytes, until flushed"
    figure :rate, "messages", "/s", [:at_least, 0.8, :floors]
    figure :append_ns, "append itself", "ns", [:at_most, 1.4, :floors]

    def prepare(url, client)
      PlainHTTP.create(url)
      # The reference client takes quadratic time.
      super.merge("count" => client == "reference" ? count(5_000, 1_000) : count(200_000, 20_000))
    end

    def work(params)
      messages = sent(params)
      producer = DurableStreams::Producer.new(url: params["url"], producer_id: "bench")
      producer.append(messages.first)
      producer.flush
      rest = messages.drop(1)
      GC.start
      appending = 0
      seconds = timed do
        appending = Measure.seconds { rest.each { |message| producer.append(message) } }
        producer.flush
      end
      producer.close
      { rate: rest.size / seconds, append_ns: appending * 1e9 / rest.size }
    end

    def check(params)
      ensure_equal PlainHTTP.read(params["url"]), Messages.array(sent(params)).b, "producer"
    end

    # Requests with the size of a batch, as many as the server accepts.
    def floor(url, floors)
      PlainHTTP.create(url)
      messages = Messages.json((1 << 20) / 104)
      rate = floors.post(url, Messages.array(messages), connections: 5)[:rate] * messages.size
      { rate: rate, **floors.ruby(self, url) }
    end

    # The same loop, which copies the messages to a String. It mostly waits for memory.
    def floor_work(_params)
      messages = sent("count" => count(200_000, 20_000))
      buffer = String.new
      GC.start
      { append_ns: Measure.seconds { messages.each { |message| buffer << message } } * 1e9 / messages.size }
    end

    private

    def sent(params)
      @sent ||= Messages.json(params["count"])
    end
  end

  # The producer with messages that each fill a batch.
  class LargeProducing < Line
    line "producer-large", "producer, messages of 1 MB, until flushed"
    figure :rate, "bytes", "MB/s", [:at_least, 1.5, :floors]

    TYPE = "application/octet-stream"

    def prepare(url, client)
      PlainHTTP.create(url, TYPE)
      super
    end

    def work(params)
      messages = Messages.blocks(megabytes).to_a
      producer = DurableStreams::Producer.new(url: params["url"], producer_id: "bench", content_type: TYPE)
      seconds = timed do
        messages.each { |message| producer.append(message) }
        producer.flush
      end
      # Checks before close, which could send what flush failed to send.
      check(params)
      producer.close
      { rate: megabytes * (1 << 20) / 1e6 / seconds }
    end

    def check(params)
      ensure_equal PlainHTTP.read(params["url"]), Messages.blocks(megabytes).to_a.join, "after flush"
    end

    def floor(url, floors)
      PlainHTTP.create(url, TYPE)
      { rate: floors.post(url, Messages.blocks(1).first, connections: 5, type: TYPE)[:rate] * (1 << 20) / 1e6 }
    end

    private

    def megabytes
      count(256, 32)
    end
  end
end
