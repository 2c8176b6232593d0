# frozen_string_literal: true

require_relative "documentation"

homepage = Gem::Specification.load("durable_streams.gemspec").homepage

desc "Build the documentation's site in #{Documentation::FOLDER}"
task :docs do
  Documentation.new(homepage).build
  puts "#{Documentation::FOLDER}/index.html"
end

namespace :lint do
  desc "Check that yard documents every public object and has no warnings (if yard is installed)"
  task :docs do
    next puts("yard is not installed: documentation not checked") unless Documentation.available?

    problems = Documentation.new(homepage).build
    abort "yard: #{problems.join("\n")}" if problems.any?

    puts "yard: every public object is documented, no warnings"
  end

  desc "Check the workflows (if actionlint is installed)"
  task :workflows do
    actionlint = ENV["PATH"].split(File::PATH_SEPARATOR).any? { |folder| File.executable?("#{folder}/actionlint") }
    next puts("actionlint is not installed: workflows not checked") unless actionlint

    sh "actionlint"
  end
end
