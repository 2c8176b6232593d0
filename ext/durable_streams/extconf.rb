# frozen_string_literal: true

require "rbconfig"
require_relative "build_requirements"

# The containers of rb-sys-dock set RUBY_TARGET. They have everything, elsewhere than this checks.
unless ENV.key?("RUBY_TARGET")
  missing = BuildRequirements.new.message
  abort missing if missing
end

require "mkmf"
require "rb_sys/mkmf"

create_rust_makefile("durable_streams/durable_streams") do |config|
  # Under RubyGems, rb_sys would download Rust without asking. RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN asks for it.
  config.auto_install_rust_toolchain = false
  # With musl, rustup's Rust links the C library statically by default. Such a program cannot load libclang, and such an
  # extension cannot be loaded.
  config.extra_rustflags += ["-C", "target-feature=-crt-static"] if RbConfig::CONFIG["target_os"] == "linux-musl"
end
