# frozen_string_literal: true

require_relative "lib/durable_streams/version"

repository = "https://github.com/durable-streams/durable-streams-ruby"

Gem::Specification.new do |spec|
  spec.name = "durable_streams"
  spec.version = DurableStreams::VERSION
  spec.authors = ["The durable_streams authors"]
  spec.summary = "Native client of the Durable Streams protocol"
  spec.description = "Creates, appends to, reads and follows durable streams over HTTP. " \
                     "A Rust extension implements the protocol and waits without holding Ruby's lock (GVL)."
  spec.homepage = repository
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.0"

  # With Cargo.lock, an installation builds the tested versions. Cargo needs the workspace with all its crates, but not
  # their tests.
  spec.files = Dir.glob(
    %w[
      lib/**/*.rb
      sig/**/*.rbs
      docs/**/*.md
      examples/**/*.{css,html,js,md,mjs,rb,ru}
      ext/durable_streams/{build_requirements,extconf}.rb
      ext/*/{build.rs,Cargo.toml}
      ext/*/src/**/*.rs
      Cargo.{toml,lock}
      {README,CHANGELOG,SECURITY}.md
      .yardopts
      LICENSE
    ],
    base: __dir__
  ).grep_v(%r{\Aext/.*(/tests/|tests\.rs\z)})
  spec.require_paths = ["lib"]
  spec.extensions = ["ext/durable_streams/extconf.rb"]

  # Not a default gem since Ruby 4.0: under Bundler, only gems that depend on it find it.
  spec.add_dependency "logger", "~> 1.4"
  spec.add_dependency "rb_sys", "~> 0.9.87"

  spec.metadata["cargo_crate_name"] = "durable_streams"
  spec.metadata["source_code_uri"] = repository
  spec.metadata["changelog_uri"] = "#{repository}/blob/main/CHANGELOG.md"
  spec.metadata["documentation_uri"] = "https://rubydoc.info/gems/durable_streams"
  spec.metadata["bug_tracker_uri"] = "#{repository}/issues"
  spec.metadata["rubygems_mfa_required"] = "true"
end
