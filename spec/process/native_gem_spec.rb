# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require_relative "../../rakelib/native_gem"

# Installs the precompiled gem, with the extension that is being tested, as on a system without Rust.
RSpec.describe NativeGem, without: :gc_pressure do
  before(:context) do
    @folder = Dir.mktmpdir
    gemspec = Gem::Specification.load(File.join(root, "durable_streams.gemspec"))
    silently do
      @gem = described_class.new(gemspec, { described_class.ruby_version => extension }).build(@folder)
    end
    @installation = run("gem", "install", "--local", "--no-document", @gem)
  end

  after(:context) { FileUtils.rm_rf(@folder) }

  # A copy without the 100 MB of debug information that a debug build has.
  def extension
    name = "durable_streams.#{RbConfig::CONFIG["DLEXT"]}"
    File.join(@folder, name).tap do |copy|
      FileUtils.cp(File.join(root, "lib/durable_streams", name), copy)
      system("strip", "-S", copy, exception: true)
    end
  end

  def root
    File.expand_path("../..", __dir__)
  end

  def silently(&block)
    Gem::DefaultUserInteraction.use_ui(Gem::SilentUI.new, &block)
  end

  # Only Ruby, the gems that come with it, and this gem: no cargo, no compiler.
  def environment
    folder = File.join(@folder, "gems")
    { "GEM_HOME" => folder, "GEM_PATH" => [folder, Gem.default_dir].join(File::PATH_SEPARATOR),
      "PATH" => File.join(@folder, "empty"), "RUBYLIB" => nil, "RUBYOPT" => nil }
  end

  def run(program, *arguments)
    program = File.join(RbConfig::CONFIG["bindir"], Gem.default_exec_format % program) if program == "gem"
    ChildProcess.command(environment, RbConfig.ruby, program, *arguments).ended
  end

  def specification
    Gem::Package.new(@gem).spec
  end

  it "installs without a compiler, and depends on nothing that builds" do
    expect(@installation.status).to be_success, @installation.output
    expect(specification.extensions).to eq([])
    expect(specification.dependencies.map(&:name)).to eq(["logger"])
    expect(specification.files.grep(/\Aext|Cargo|\.rs\z/)).to eq([])
  end

  it "is for the Rubies whose extensions it has, on this platform" do
    major, minor = RUBY_VERSION.split(".").map(&:to_i)
    versions = %W[#{major}.#{minor}.0.preview1 #{major}.#{minor}.0 #{major}.#{minor}.9 #{major}.#{minor + 1}.0.preview1]
    fitting = versions.select { |version| specification.required_ruby_version.satisfied_by?(Gem::Version.new(version)) }
    expect(fitting).to eq(versions[1, 2])
    expect(Gem::Platform.match_spec?(specification)).to be(true)
  end

  it "runs the README's quick start" do
    example = File.read(File.join(root, "README.md"))[/^## Quick start\n+```ruby\n(.*?)^```/m, 1]
    program = example.sub("http://localhost:4437", server_url).sub("/orders", unique_path)
    expect(run("-e", "#{program}\nputs JSON.generate(orders.read_all)").output).to eq(%([{"id":1,"total":20}]\n))
  end

  it "says which Rubies it is for if another one loads it" do
    version = described_class.ruby_version
    installed = File.join(@folder, "gems/gems", specification.full_name)
    copy = File.join(@folder, "copy")
    FileUtils.cp_r(installed, copy)
    FileUtils.mv(File.join(copy, "lib/durable_streams", version), File.join(copy, "lib/durable_streams/9.9"))
    output = run("-I", File.join(copy, "lib"), "-e", "require 'durable_streams'").output
    expect(output).to include("this precompiled gem is for Ruby 9.9", "gem install durable_streams --platform ruby")
  end
end
