# frozen_string_literal: true

require "open3"
require "rbconfig"
require "tmpdir"

# Finds out what is missing to build the extension, and how to install it. It needs neither mkmf nor rb_sys: the first
# fails without Ruby's headers, the second may not be installed yet.
class BuildRequirements
  CARGO_TOML = File.expand_path("../../Cargo.toml", __dir__)

  # Where clang-sys, which the build uses, looks for libclang, beside LIBCLANG_PATH and llvm-config.
  LIBCLANG = {
    /darwin/ => %w[/Library/Developer/CommandLineTools/usr/lib/libclang.dylib
                   /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib
                   /usr/local/opt/llvm*/lib/{,llvm*/lib/}libclang*.dylib],
    /mswin|mingw/ => ["C:/MSYS*/{MinGW,clang}*/{bin,lib}/*clang.dll", "C:/Program Files*/LLVM/{bin,lib}/*clang.dll",
                      "C:/LLVM/{bin,lib}/*clang.dll", "C:/Users/*/scoop/apps/llvm/current/{bin,lib}/*clang.dll"],
    // => %w[/usr{,/local}/lib*/{,*/}{,*/}libclang{,-[0-9]*}.so* /usr/local/llvm*/lib*/libclang{,-[0-9]*}.so*]
  }.freeze

  # libclang needs the compiler's own headers, such as stddef.h. Most Linux systems have them in another package.
  CLANG_HEADERS = %w[/usr{,/local}/lib*/{,llvm*/}{,*/}{,lib*/}clang/*/include/stddef.h
                     /usr/local/llvm*/lib*/clang/*/include/stddef.h].freeze

  # The command that installs packages, and what they are called. `ruby` is for the system's own Ruby.
  PACKAGES = {
    debian: { install: "apt-get install", compiler: "build-essential", make: "build-essential",
              libclang: "libclang-dev", ruby: "ruby-dev" },
    fedora: { install: "dnf install", compiler: "gcc", make: "make", libclang: "clang-devel", ruby: "ruby-devel" },
    alpine: { install: "apk add", compiler: "build-base", make: "build-base", libclang: "clang-dev", ruby: "ruby-dev" },
    windows: { install: "ridk exec pacman -S --needed", compiler: "mingw-w64-ucrt-x86_64-gcc", make: "make",
               libclang: "mingw-w64-ucrt-x86_64-clang" }
  }.freeze

  # @return [String] the oldest version of Rust that builds the extension
  def self.rust_version
    File.read(CARGO_TOML)[/^rust-version = "([^"]+)"/, 1]
  end

  # @param host_os [String] as in RbConfig
  # @param os_release [String] the content of /etc/os-release
  # @return [Symbol, nil] a key of PACKAGES
  def self.system(host_os: RbConfig::CONFIG["host_os"], os_release: read_os_release)
    return :macos if host_os.include?("darwin")
    return :windows if host_os.match?(/mswin|mingw/)

    names = os_release.scan(/^ID(?:_LIKE)?="?([^"\n]*)/).flatten.join(" ").split
    { debian: %w[debian ubuntu], fedora: %w[fedora rhel centos], alpine: %w[alpine] }
      .find { |_system, ids| (ids & names).any? }&.first
  end

  def self.read_os_release
    file = ["/etc/os-release", "/usr/lib/os-release"].find { |path| File.file?(path) }
    file ? File.read(file) : ""
  end
  private_class_method :read_os_release

  # @param system [Symbol, nil] a key of PACKAGES
  # @param environment [#[]] as ENV
  def initialize(system: self.class.system, environment: ENV)
    @system = system
    @environment = environment
  end

  # @return [String, nil] what is missing and what to do; nil if everything is there
  def message
    return if missing.empty?

    <<~TEXT
      durable_streams cannot be built. Missing on this system:

      #{missing.values.map { |text| "  - #{text}" }.join("\n")}

      #{instructions.map { |line| "  #{line}" }.join("\n")}

      Then install the gem again. CARGO, CC and LIBCLANG_PATH name what is installed elsewhere.
      A precompiled gem needs none of this. With Bundler, Gemfile.lock has to list the platform:
        bundle lock --add-platform #{Gem::Platform.local}
    TEXT
  end

  # @return [Hash{Symbol => String}] a sentence for each requirement that is not met
  def missing
    @missing ||= { rust: rust, compiler: compiler, make: make, ruby: ruby_headers, libclang: libclang }.compact
  end

  # @return [Array<String>] commands that install what is missing
  def instructions
    packages + (missing.key?(:rust) ? rust_instructions : [])
  end

  private

  def packages
    wanted = missing.keys - [:rust]
    return [] if wanted.empty?
    return ["xcode-select --install"] if @system == :macos
    return ["Install #{wanted.join(", ")} with this system's package manager."] unless PACKAGES.key?(@system)

    names = PACKAGES[@system]
    names = names.reject { |key, _name| key == :ruby } unless RbConfig::CONFIG["prefix"] == "/usr"
    found = names.values_at(*wanted).compact.uniq
    lines = found.empty? ? [] : ["#{names[:install]} #{found.join(" ")}"]
    lines << "Install Ruby again, with its headers." if missing.key?(:ruby) && !names.key?(:ruby)
    lines
  end

  def rust_instructions
    return ["rustup update stable && rustup default stable"] if @rustup
    return [". #{cargo_home}/env"] if @outside_path
    return ["winget install Rustlang.Rustup", "rustup default stable-x86_64-pc-windows-gnu"] if @system == :windows

    ["curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh     (see https://rustup.rs)",
     "or set RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN=true, which downloads Rust for this installation only"]
  end

  # rb_sys installs Rust if this variable says so.
  def installs_rust?
    !["", "false"].include?(@environment["RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN"].to_s)
  end

  def rust
    return if installs_rust?

    cargo = @environment["CARGO"] || "cargo"
    problem = cargo_problem(cargo, run(cargo, "--version")) or return
    @rustup = !run("rustup", "--version").nil?
    "Rust #{self.class.rust_version} or later: #{problem}"
  end

  def cargo_problem(cargo, output)
    return not_found(cargo) unless output

    version = output[/^cargo (\d+\.\d+\.\d+)/, 1]
    return "`#{cargo} --version` failed: #{output.lines.first.to_s.strip}" unless version

    "`#{cargo}` is version #{version}" if Gem::Version.new(version) < Gem::Version.new(self.class.rust_version)
  end

  def not_found(cargo)
    @outside_path = File.executable?(File.join(cargo_home, "bin/cargo")) && !@environment["CARGO"]
    return "`#{cargo}` was not found" unless @outside_path

    "`cargo` was not found: #{cargo_home}/bin is not on PATH"
  end

  def cargo_home
    @environment["CARGO_HOME"] || File.join(Dir.home, ".cargo")
  end

  # Compiles and links a program: a compiler alone, without the C library's headers, is not enough.
  def compiler
    command = @environment["CC"] || RbConfig::CONFIG["CC"]
    output, status = Dir.mktmpdir do |folder|
      source = File.join(folder, "check.c")
      File.write(source, "#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n")
      Open3.capture2e(*command.split, source, "-o", File.join(folder, "check"))
    end
    "a C compiler: `#{command}` failed: #{output.lines.grep(/error/).first.to_s.strip}" unless status.success?
  rescue SystemCallError
    "a C compiler: `#{command}` was not found"
  end

  def make
    command = @environment["MAKE"] || @environment["make"] || "make"
    "make: `#{command}` was not found" unless run(command, "--version")
  end

  def ruby_headers
    header = File.join(RbConfig::CONFIG["rubyhdrdir"].to_s, "ruby.h")
    "Ruby's headers: #{header} was not found" unless File.file?(header)
  end

  def libclang
    return if @environment["LIBCLANG_PATH"]

    files = LIBCLANG.find { |os, _files| os.match?(host_os) }.last
    return "libclang" if !libclang_gem? && !found?(files, "libclang*")
    return if host_os.match?(/darwin|mswin|mingw/) || found?(CLANG_HEADERS, "clang/*/include/stddef.h")

    "libclang's own headers (stddef.h): they are in another package than libclang"
  end

  def host_os
    RbConfig::CONFIG["host_os"]
  end

  # rb_sys uses this gem's library if it is installed.
  def libclang_gem?
    Gem::Specification.find_all_by_name("libclang").any?
  end

  # True if there is such a file, or `name` where llvm-config says that LLVM is.
  def found?(patterns, name)
    prefix = run("llvm-config", "--prefix")&.lines&.first&.strip
    patterns += ["#{prefix}/{bin,lib,lib64}/#{name}"] if prefix
    Dir.glob(patterns).any?
  end

  # Returns the output; nil if there is no such program.
  def run(*command)
    Open3.capture2e(*command).first
  rescue SystemCallError
    nil
  end
end
