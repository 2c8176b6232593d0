# frozen_string_literal: true

require "rubygems/package_task"
require_relative "native_gem"

gemspec = Gem::Specification.load("durable_streams.gemspec")

# Defines gem, which builds the gem for installation from source into pkg/.
Gem::PackageTask.new(gemspec) { |task| task.need_tar = false }

namespace :gem do
  desc "Build a precompiled gem for this platform into pkg/: for this Ruby, and those whose folders bin/matrix has made"
  task native: :compile do
    extension = "durable_streams.#{RbConfig::CONFIG["DLEXT"]}"
    built = "tmp/extensions"
    rm_rf built
    mkdir_p "#{built}/#{NativeGem.ruby_version}"
    cp "lib/durable_streams/#{extension}", "#{built}/#{NativeGem.ruby_version}"
    sh "bin/matrix", "--extensions", built
    files = Dir.glob("#{built}/*/#{extension}").to_h { |file| [File.basename(File.dirname(file)), file] }
    puts NativeGem.new(gemspec, files).build("pkg")
  end
end
