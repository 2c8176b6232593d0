# frozen_string_literal: true

require "fileutils"
require "timeout"
require "tmpdir"
require_relative "../support/nginx"

# nginx in front of a real server. By default it buffers requests, allows bodies of 1 MiB, and cuts a response after
# 60 s of silence. It also buffers responses, which delays events unless the server forbids it with the header
# `X-Accel-Buffering: no`. So that is off here.
on_each_server "A server behind nginx" do
  { "HTTP/1.1" => false, "HTTP/2" => true }.each do |version, http2|
    describe "over #{version}" do
      let(:upstream) { start_server(durability: :wal, long_poll_timeout_ms: 1_000) }
      let(:settings) { "proxy_buffering off;" }
      let(:nginx) { Nginx.new(upstream.url, tls: http2, http2: http2, location: settings) }
      let(:client) { DurableStreams::Client.new(base_url: nginx.url, ca_file: nginx.ca_file) }

      after do
        client.close
        nginx.stop
      end

      it "creates, appends, reads, closes and deletes streams" do
        stream = client.create("/s", content_type: :json)
        offset = stream.append({ "a" => 1 }).next_offset
        stream.append([2], seq: "1")
        expect(stream.head).to have_attributes(content_type: "application/json", closed?: false)
        expect(stream.read_json.to_a).to eq([{ "a" => 1 }, [2]])
        expect(stream.read(offset: offset).flat_map(&:items)).to eq([[2]])
        expect(stream.close_stream(data: 3).final_offset).to be_a(String)
        expect { stream.append(4) }.to raise_error(DurableStreams::StreamClosedError)
        stream.delete
        expect(stream).not_to exist
      end

      %i[long_poll sse auto].each do |live|
        it "tails a stream with live: #{live.inspect}, message by message" do
          stream = client.create("/s", content_type: :json)
          stream.append(0)
          items = stream.read_json(live: live).each
          Timeout.timeout(30) do
            3.times do |number|
              expect(items.next).to eq(number)
              stream.append(number + 1)
            end
            expect(items.next).to eq(3)
          end
        end
      end

      describe "that buffers responses, events included" do
        let(:settings) { "" }

        it "is read by long-poll with live: :auto if there is no SSE response in time" do
          client = DurableStreams::Client.new(base_url: nginx.url, ca_file: nginx.ca_file, timeout: 1)
          stream = client.create("/s", content_type: :json)
          stream.append(0)
          items = stream.read_json(live: :auto).each
          Timeout.timeout(30) do
            3.times do |number|
              expect(items.next).to eq(number)
              stream.append(number + 1)
            end
          end
        ensure
          client.close
        end
      end

      if http2
        describe "that accepts 60 requests at a time on a connection" do
          let(:nginx) do
            Nginx.new(upstream.url, tls: true, http2: true, http: "http2_max_concurrent_streams 60;",
                                    location: settings)
          end

          it "is read by more readers of events than that" do
            stream = client.create("/s", content_type: :json)
            items = Queue.new
            readers = Array.new(70) { stream.read_json(live: :sse) }
            threads = readers.map { |reader| Thread.new { reader.each { |item| items << item } } }
            stream.append(1)
            Timeout.timeout(30) { expect(Array.new(70) { items.pop }).to eq([1] * 70) }
          ensure
            readers.each(&:close)
            threads.each(&:join)
          end
        end

        describe "that logs connections" do
          let(:folder) { Dir.mktmpdir }
          let(:log) { File.join(folder, "connections") }
          let(:settings) { "access_log #{log} connection;" }
          let(:nginx) do
            Nginx.new(upstream.url, tls: true, http2: true, http: "log_format connection $connection;",
                                    location: settings)
          end

          after { FileUtils.rm_rf(folder) }

          # The first of the requests that overlap may have a connection of its own.
          it "gets the requests of many threads by one or two of them" do
            streams = Array.new(8) { |number| client.create("/s#{number}", content_type: :json) }
            threads = streams.map { |stream| Thread.new { 25.times { |number| stream.append(number) } } }
            threads.each(&:join)
            expect(streams.map { |stream| stream.read_json.to_a }).to all(eq([*0...25]))
            connections = File.readlines(log)
            expect(connections.size).to be >= 8 * 26
            expect(connections.uniq.size).to be <= 2
          end
        end
      end

      it "rejects a body of more than 1 MiB, which the client reports as such" do
        stream = client.create("/s", content_type: :bytes)
        [:append, ->(to, data) { to.append(data, seq: "1") }].each do |append|
          expect { append.to_proc.call(stream, "x" * 3_000_000) }
            .to raise_error(DurableStreams::PayloadTooLargeError) { |error| expect(error).not_to be_outcome_unknown }
        end
        expect(stream.read_bytes.map(&:data).join).to eq("")
      end

      it "delivers a producer's messages once, also if the server is killed meanwhile" do
        stream = client.create("/s", content_type: :json)
        producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", max_batch_items: 7)
        500.times { |number| producer << number }
        producer.flush
        upstream.kill
        500.times { |number| producer << (500 + number) }
        upstream.restart
        # The Rust server keeps the state of producers in memory only.
        gap = begin
          producer.close
        rescue DurableStreams::SequenceGapError => e
          raise unless server_kind == :rust

          e
        end
        stored = (0...(gap ? 500 : 1_000)).to_a
        expect(stream.read_json.to_a).to eq(stored)
        expect(gap&.undelivered.to_a + stored).to match_array((0...1_000).to_a)
      end

      it "says that the outcome of an append is unknown after nginx's 502 or 504" do
        stream = client.create("/s", content_type: :json)
        upstream.kill
        expect { stream.append(1) }.to raise_error(DurableStreams::FetchError) do |error|
          expect(error).to have_attributes(status: 502, outcome_unknown?: true, attempts: 1)
        end
      end
    end
  end
end
