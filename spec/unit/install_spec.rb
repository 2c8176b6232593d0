# frozen_string_literal: true

require "fileutils"
require "open3"
require "rbconfig"
require "tmpdir"

# The error messages of an installation on a system where something is missing.
RSpec.describe "An installation" do
  around { |example| Dir.mktmpdir { |folder| Dir.chdir(folder) { example.run } } }

  def root
    File.expand_path("../..", __dir__)
  end

  def ruby(*arguments, **environment)
    environment = { "RUBYOPT" => nil, "RUBYLIB" => nil, **environment.transform_keys(&:to_s) }
    output, status = Open3.capture2e(environment, RbConfig.ruby, *arguments)
    [output, status.success?]
  end

  describe "without Rust" do
    let(:extconf) { File.join(root, "ext/durable_streams/extconf.rb") }
    let(:without_rust) do
      { PATH: Dir.pwd, CARGO: nil, SOURCE_DATE_EPOCH: nil, RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN: nil }
    end

    it "fails with what is missing and how to install it" do
      output, succeeded = ruby(extconf, **without_rust)
      expect(output).to include("`cargo` was not found", "https://rustup.rs")
      expect(succeeded).to be(false)
      expect(File).not_to exist("Makefile")
    end

    it "fails before rb_sys tries to install Rust, as it does under RubyGems" do
      output, = ruby(extconf, **without_rust, SOURCE_DATE_EPOCH: "0")
      expect(output).to include("`cargo` was not found", "https://rustup.rs")
      expect(File).to exist("Makefile")
    end
  end

  describe "without the extension" do
    before do
      Dir[File.join(root, "lib/**/*.rb")].each do |file|
        copy = file.delete_prefix("#{root}/")
        FileUtils.mkdir_p(File.dirname(copy))
        FileUtils.cp(file, copy)
      end
    end

    def required
      ruby("-I", "lib", "-e", "begin; require 'durable_streams'; rescue LoadError => e; puts e.message; p e.cause; end")
        .first
    end

    it "raises an error with the command that builds it" do
      expect(required).to include("cannot load such file -- durable_streams/durable_streams: the native extension",
                                  "Ruby #{RUBY_VERSION}", "`gem pristine durable_streams`", "#<LoadError: cannot load")
    end

    it "raises an error with the reason if an existing extension cannot be loaded" do
      File.write("lib/durable_streams/durable_streams.#{RbConfig::CONFIG["DLEXT"]}", "no library")
      expect(required).to match(/durable_streams\.\w+/).and include("nil")
      expect(required).not_to include("gem pristine")
    end
  end

  it "includes every file that the README names" do
    files = Gem::Specification.load(File.join(root, "durable_streams.gemspec")).files
    named = File.read(File.join(root, "README.md")).scan(/\]\(((?!https?:)[^)]+)\)/).flatten
    expect(named).not_to be_empty
    expect(named.reject { |name| files.any? { |file| file == name || file.start_with?("#{name}/") } }).to eq([])
  end
end
