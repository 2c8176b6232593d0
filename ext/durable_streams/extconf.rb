# frozen_string_literal: true

require "etc"
require "rbconfig"
require_relative "build_requirements"

# The containers of rb-sys-dock set RUBY_TARGET. They have everything, elsewhere than this checks.
unless ENV.key?("RUBY_TARGET")
  missing = BuildRequirements.new.message
  abort missing if missing
end

# Whether an extension for this machine may have a packed table of relocations, which takes 110 kB less. glibc 2.36 is
# the first that loads it. Precompiled gems are for older ones, too.
def packed_relocations?
  return false if ENV.key?("RUBY_TARGET") || !RbConfig::CONFIG["target_os"].match?(/\Alinux(-gnu)?\z/)

  version = Etc.confstr(Etc::CS_GNU_LIBC_VERSION).to_s[/\Aglibc (.+)/, 1]
  !version.nil? && Gem::Version.new(version) >= Gem::Version.new("2.36")
end

require "mkmf"
require "rb_sys/mkmf"

create_rust_makefile("durable_streams/durable_streams") do |config|
  # Under RubyGems, rb_sys would download Rust without asking. RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN asks for it.
  config.auto_install_rust_toolchain = false
  config.extra_rustc_args += ["-C", "link-arg=-Wl,-z,pack-relative-relocs"] if packed_relocations?
  # With musl, rustup's Rust links the C library statically by default. Such a program cannot load libclang, and such an
  # extension cannot be loaded.
  config.extra_rustflags += ["-C", "target-feature=-crt-static"] if RbConfig::CONFIG["target_os"] == "linux-musl"
end
