# frozen_string_literal: true

require "open3"
require "rbconfig"

# `require "durable_streams/rspec"`, in separate runs of RSpec.
RSpec.describe "durable_streams/rspec" do
  let(:lib) { File.expand_path("../../lib", __dir__) }
  let(:folder) { Dir.mktmpdir }
  let(:on_path) do
    bin = File.join(folder, "bin").tap { |path| FileUtils.mkdir_p(path) }
    FileUtils.ln_s(TestServer.program, File.join(bin, "durable-streams-server"))
    { "PATH" => [bin, ENV.fetch("PATH")].join(File::PATH_SEPARATOR), "DURABLE_STREAMS_SERVER" => nil }
  end

  after { FileUtils.remove_entry(folder) }

  # Runs RSpec on a spec file with this text.
  # @return [String] what it printed
  def run(text, env)
    file = File.join(folder, "#{text.hash}_spec.rb")
    File.write(file, "require 'durable_streams/rspec'\n#{text}")
    output, = Open3.capture2e(env, RbConfig.ruby, "-I", lib, "-S", "rspec", "--options", File::NULL, file,
                              chdir: folder)
    output
  end

  it "starts one server for the run and stops it at the end" do
    output = run(<<~RUBY, on_path)
      RSpec.describe "a service" do
        2.times do
          it "has a server" do
            puts "server: \#{test_server_url} \#{DurableStreams::Testing::TestServer.server.data_dir}"
            stream = DurableStreams::Client.new(base_url: test_server_url).stream("/\#{rand}").create
            expect(stream.append({ a: 1 }).next_offset).to eq(stream.head.next_offset)
          end
        end
      end
    RUBY
    expect(output).to include("2 examples, 0 failures")
    url, data_dir = output.scan(/^\.?server: (\S+) (\S+)/).tap { |lines| expect(lines.uniq.size).to eq(1) }.first
    expect { DurableStreams.stream("#{url}/a").head }.to raise_error(DurableStreams::ConnectionError)
    expect(File.exist?(data_dir)).to be(false)
  end

  it "starts no server for a run that does not use it" do
    output = run(<<~RUBY, on_path)
      RSpec.describe("a thing") { it("works") { expect(DurableStreams::Testing::TestServer).not_to be_started } }
    RUBY
    expect(output).to include("1 example, 0 failures")
  end

  it "starts a server for each of several runs at the same time" do
    example = <<~RUBY
      RSpec.describe "a service" do
        it "has a separate server" do
          client = DurableStreams::Client.new(base_url: test_server_url)
          client.create("/same", content_type: :json).append(Process.pid)
          $stdout.puts "up"
          $stdin.gets
          expect(client.stream("/same").read_all).to eq([Process.pid])
        end
      end
    RUBY
    File.write(File.join(folder, "a_spec.rb"), "require 'durable_streams/rspec'\n#{example}")
    command = [on_path, RbConfig.ruby, "-I", lib, "-S", "rspec", "--options", File::NULL, "a_spec.rb"]
    runs = Array.new(2) { Open3.popen2e(*command, chdir: folder) }
    runs.each { |_, output| output.each_line.find { |line| line.include?("up") } }
    outputs = runs.map do |input, output, _|
      input.puts
      output.read
    end
    expect(outputs).to all(include("1 example, 0 failures"))
  end

  it "raises an error that says how to install the server if it is missing" do
    text = "RSpec.describe('a service') { it('needs a server') { test_server_url } }"
    without = { "PATH" => folder, "HOME" => folder, "CARGO_HOME" => nil, "DURABLE_STREAMS_SERVER" => nil }
    rspec = Gem.bin_path("rspec-core", "rspec")
    File.write(File.join(folder, "b_spec.rb"), "require 'durable_streams/rspec'\n#{text}")
    output, = Open3.capture2e(without, RbConfig.ruby, "-I", lib, rspec, "--options", File::NULL, "b_spec.rb",
                              chdir: folder)
    expect(output).to include("`cargo install durable-streams`", "DURABLE_STREAMS_SERVER", "1 example, 1 failure")
    expect(run(text, "DURABLE_STREAMS_SERVER" => "/missing"))
      .to include('DURABLE_STREAMS_SERVER is "/missing", which is not an executable file')
  end
end
