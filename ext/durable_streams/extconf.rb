# frozen_string_literal: true

require "mkmf"
require "rb_sys/mkmf"

create_rust_makefile("durable_streams/durable_streams") do |config|
  next if find_executable(ENV.fetch("CARGO", "cargo"))

  # Without this message, make would only report a missing file. Under RubyGems, rb_sys tries to install Rust.
  advice = "`cargo` was not found. Building durable_streams needs Rust 1.88 or later: install it from " \
           "https://rustup.rs (cargo must be on PATH, or named by the variable CARGO), and install the gem again."
  installs = ENV.fetch("RB_SYS_FORCE_INSTALL_RUST_TOOLCHAIN", config.rubygems_invoked?.to_s) != "false"
  installs ? message("#{advice}\n") : abort(advice)
end
