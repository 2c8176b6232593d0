# frozen_string_literal: true

require "tempfile"

# Checks with valgrind's memcheck that the extension frees the memory that it allocates and does not use it afterwards,
# in a program that uses the whole library. Not part of an ordinary run: see `rake spec:leaks:native`.
#
# Ruby frees little memory when it ends, and searches its stacks for references to objects. memcheck reports both. So
# only faults count in which the extension itself has allocated the memory or makes the access.
RSpec.describe "Native memory" do
  valgrind = ENV.fetch("PATH").split(":").any? { |folder| File.executable?(File.join(folder, "valgrind")) }
  # Does not report uses of undefined values, because Ruby has many.
  memcheck = %w[valgrind --quiet --xml=yes --leak-check=full --show-leak-kinds=definite --undef-value-errors=no
                --num-callers=60 --fair-sched=yes]

  program = <<~RUBY
    url, faulty = ARGV
    GC.start
    20.times do |round|
      headers = { "X-Token" => -> { "token" } }
      client = DurableStreams::Client.new(base_url: url, headers: headers)
      stream = client.create("/specs/memcheck-\#{Process.pid}-\#{round}", content_type: :json)
      5.times { |i| stream.append({ "a" => ["b", i, 1.5, nil] }) }
      Array.new(3) { |i| Thread.new { stream.append(i) } }.each(&:join)
      stream.append({ "text" => "x" * 100_000 }, seq: "1")
      2.times { stream.read_json.to_a }
      stream.read_json(live: :long_poll).next
      stream.read(live: :sse) { |reader| reader.next }
      abandoned = stream.read_json(live: :sse).tap(&:next)
      blocked = Thread.new { stream.read_json(live: :long_poll, offset: "now").first }
      Thread.pass until blocked.stop?
      blocked.kill.join
      producer = DurableStreams::Producer.new(stream: stream, producer_id: "p", on_delivery: ->(*) {})
      20.times { |i| producer.append({ "i" => i }) }
      producer.append!([])
      begin
        producer.append("{")
      rescue DurableStreams::ParseError
        nil
      end
      producer.close
      DurableStreams::Producer.new(stream: stream, producer_id: "q").append(1) # Never closed.
      begin
        client.stream("/specs/none").head
      rescue DurableStreams::StreamNotFoundError
        nil
      end
      begin
        policy = DurableStreams::RetryPolicy.new(max_retries: 1, initial_delay: 0.001)
        DurableStreams::Client.open(base_url: faulty, retry_policy: policy) { |other| other.stream("/s").read.to_a }
      rescue DurableStreams::Error
        nil
      end
      DurableStreams::Client.open(base_url: url) { |other| other.stream(stream.url).read_all } if round.odd?
      stream.delete
      client.close
    end
    GC.start
    puts "fine"
  RUBY

  library = "durable_streams.#{RbConfig::CONFIG["DLEXT"]}"

  # One error that memcheck reports.
  fault = Struct.new(:kind, :objects, :text) do
    # True if the extension requested the memory, not Ruby. The first frame is the allocator's.
    def lost_by?(library)
      kind == "Leak_DefinitelyLost" && objects[1].to_s.end_with?(library)
    end

    def wrong_in?(library)
      !kind.start_with?("Leak_") && objects.first(2).any? { |object| object.end_with?(library) }
    end
  end

  define_method(:faults_in) do |report|
    report.scan(%r{<error>.*?</error>}m).map do |text|
      frames = text[%r{<stack>.*?</stack>}m].scan(%r{<frame>.*?</frame>}m)
      objects = frames.map { |frame| frame[%r{<obj>(.*?)</obj>}, 1] }
      text = text.gsub(%r{<(ip|obj|dir|line|unique|tid)>.*?</\1>|</?\w+>}, "").squeeze("\n ")
      fault.new(text[/\w+/], objects.map(&:to_s), text)
    end
  end

  # @return [String] memcheck's report on the program
  define_method(:memcheck_report) do
    Tempfile.create("memcheck") do |report|
      ruby = [RbConfig.ruby, "-I", ChildProcess::LIB, "-r", "durable_streams", "-e", program]
      broken = FaultServer.shared.on(&:rst)
      child = ChildProcess.command({}, *memcheck, "--xml-file=#{report.path}", *ruby, server_url, broken.url,
                                   timeout: 1_800)
      ended = child.ended
      expect([ended.output, ended.status.exitstatus]).to eq(["fine\n", 0])
      report.read.tap { |text| expect(text).to include("<state>FINISHED</state>") }
    end
  end

  if valgrind
    it "is freed and not used afterwards" do
      found = faults_in(memcheck_report)
      own = found.select { |one| one.lost_by?(library) || one.wrong_in?(library) }
      RSpec.configuration.reporter.message("memcheck: #{found.size} faults, #{own.size} of them the extension's")
      expect(own).to be_empty, -> { own.map(&:text).join("\n") }
    end
  else
    RSpec.configuration.reporter.message("LEFT OUT: the extension under memcheck: there is no valgrind here.")
  end
end
