# shellcheck shell=bash
# Sourced by the programs in bin/: shared settings and functions. Changes nothing.

# Development gems that the Rakefile and the specs need; bin/setup installs them, with Bundler or from Debian.
DEVELOPMENT_GEMS=(rb_sys rake rake-compiler rspec rubocop yard puma rails minitest sidekiq redis sqlite3 pg capybara
  selenium-webdriver)

# rustup adds cargo to PATH only for login shells.
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

# True if Ruby finds the development gems, and the shell finds rake and rubocop, without Bundler.
gems_without_bundler() {
  command -v rake >/dev/null 2>&1 && command -v rubocop >/dev/null 2>&1 &&
    ruby -e 'ARGV.each { |name| gem name }' -- "${DEVELOPMENT_GEMS[@]}" >/dev/null 2>&1
}

# Runs rake with the given arguments, through Bundler if Bundler installed the gems.
run_rake() {
  if gems_without_bundler; then
    rake "$@"
  else
    bundle exec rake "$@"
  fi
}
