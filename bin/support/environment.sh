# shellcheck shell=bash
# Sourced by the programs in bin/: what they agree on about the machine they run on. Changes nothing.

# Development gems that the Rakefile needs; `bin/setup` installs them, from Debian or with Bundler.
DEVELOPMENT_GEMS=(rb_sys rake rake-compiler rspec rubocop puma)

# rustup puts cargo in the user's PATH only for login shells.
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

# True if Ruby finds the development gems, and the shell their programs, without Bundler.
gems_without_bundler() {
  command -v rake >/dev/null 2>&1 && command -v rubocop >/dev/null 2>&1 &&
    ruby -e 'ARGV.each { |name| gem name }' -- "${DEVELOPMENT_GEMS[@]}" >/dev/null 2>&1
}

# Runs rake with the given arguments, through Bundler where the gems are Bundler's.
run_rake() {
  if gems_without_bundler; then
    rake "$@"
  else
    bundle exec rake "$@"
  fi
}
