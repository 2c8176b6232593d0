# frozen_string_literal: true

# A thread that requires a file and a thread that autoloads one of its constants can wait for each other, forever.
RSpec.describe "Autoloaded files" do
  lib = File.expand_path("../../lib", __dir__)

  # The paths in such lines of all files, without .rb, with the file that has the line.
  lines = lambda do |pattern|
    Dir.glob("#{lib}/**/*.rb").flat_map { |file| File.read(file).scan(pattern).map { |(path)| [file, path] } }
  end

  it "are required by no other file" do
    autoloaded = lines.call(/^ *autoload :\w+, "(durable_streams.+)"/).map { |_, path| File.join(lib, path) }
    required = lines.call(/^ *require_relative "(.+)"/).map { |file, path| File.expand_path(path, File.dirname(file)) }
    required += lines.call(/^ *require "(.+)"/).map { |_, path| File.join(lib, path) }
    expect(autoloaded.size).to be > 10
    expect(required & autoloaded).to eq([])
  end

  it "can be loaded by many threads at once" do
    program = <<~RUBY
      require "durable_streams"
      names = DurableStreams.constants.select { |name| DurableStreams.autoload?(name) }
      gate = Queue.new
      threads = Array.new(16) { Thread.new { gate.pop && names.shuffle.each { |name| DurableStreams.const_get(name) } } }
      16.times { gate << true }
      threads.each(&:join)
      puts names.none? { |name| DurableStreams.autoload?(name) }
    RUBY
    ended = ChildProcess.command({ "RUBYLIB" => ChildProcess::LIB }, RbConfig.ruby, "-e", program).ended
    expect(ended.output).to eq("true\n")
  end
end
