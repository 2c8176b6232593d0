# frozen_string_literal: true

require "etc"
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

  describe "from source" do
    let(:extconf) { File.join(root, "ext/durable_streams/extconf.rb") }
    let(:nothing) do
      { PATH: Dir.pwd, HOME: Dir.pwd, CARGO: nil, CARGO_HOME: nil, SOURCE_DATE_EPOCH: nil,
        RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN: nil }
    end

    def which(name)
      ENV["PATH"].split(":").map { |folder| File.join(folder, name) }.find { |file| File.executable?(file) }
    end

    # Puts a program on PATH: the real one, or one that prints this.
    def program(name, output = nil)
      return File.symlink(which(name), name) unless output

      File.write(name, "#!/bin/sh\necho '#{output}'\n")
      File.chmod(0o755, name)
    end

    it "says what is missing and how to install it, in less than a screen" do
      output, succeeded = ruby(extconf, **nothing)
      expect(output).to include("Rust 1.88 or later: `cargo` was not found", "https://rustup.rs",
                                "`#{RbConfig::CONFIG["CC"]}` was not found", "`make` was not found")
      expect(output.lines.size).to be < 24
      expect(succeeded).to be(false)
      expect(File).not_to exist("Makefile")
    end

    it "says the same under RubyGems, where rb_sys would download Rust" do
      output, succeeded = ruby(extconf, **nothing, SOURCE_DATE_EPOCH: "0")
      expect(output).to include("`cargo` was not found")
      expect(succeeded).to be(false)
      expect(File).not_to exist("Makefile")
    end

    it "requires the version of Rust that Cargo.toml names" do
      program("cargo", "cargo 1.63.0 (fd9c4297c 2022-07-01)")
      expect(ruby(extconf, **nothing).first).to include("Rust 1.88 or later: `cargo` is version 1.63.0")
    end

    it "requires a Rust that rustup has chosen" do
      program("cargo", "error: no default is configured")
      program("rustup", "rustup 1.28.2")
      expect(ruby(extconf, **nothing).first)
        .to include("`cargo --version` failed: error: no default is configured", "rustup default stable")
    end

    it "finds Rust that is not on PATH, and says how to put it there" do
      FileUtils.mkdir_p(".cargo/bin")
      Dir.chdir(".cargo/bin") { program("cargo", "cargo 1.90.0") }
      expect(ruby(extconf,
                  **nothing).first).to include("#{Dir.pwd}/.cargo/bin is not on PATH", ". #{Dir.pwd}/.cargo/env")
    end

    it "does not require Rust if rb_sys is to install it" do
      expect(ruby(extconf, **nothing, RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN: "stable").first).not_to include("Rust")
    end

    it "downloads no Rust unless that is asked for" do
      [RbConfig::CONFIG["CC"], "make", "as", "ld"].each { |name| program(name) }
      output, succeeded = ruby(extconf, **nothing, CARGO: which("cargo"), HOME: nil, RUBYLIB: ENV["RUBYLIB"],
                                                   RUSTUP_HOME: ENV.fetch("RUSTUP_HOME", "#{Dir.home}/.rustup"),
                                                   SOURCE_DATE_EPOCH: "0")
      expect(succeeded).to be(true), output
      expect(File.read("Makefile")).to include("RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN ?= false")
    end

    it "packs relocations if this machine's C library loads them, and never for other machines" do
      packs = lambda do |target|
        output, succeeded = ruby(extconf, RUBYLIB: ENV["RUBYLIB"], RUBY_TARGET: target)
        expect(succeeded).to be(true), output
        File.read("Makefile").include?("-z,pack-relative-relocs")
      end
      linux = RbConfig::CONFIG["target_os"].match?(/\Alinux(-gnu)?\z/)
      glibc = Etc.confstr(Etc::CS_GNU_LIBC_VERSION)[/[\d.]+/] if linux
      expect(packs.call(nil)).to be(!glibc.nil? && Gem::Version.new(glibc) >= Gem::Version.new("2.36"))
      expect(packs.call("x86_64-linux")).to be(false)
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
end
