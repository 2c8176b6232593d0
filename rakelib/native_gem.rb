# frozen_string_literal: true

require "fileutils"
require "rubygems/package"
require "tmpdir"

# A precompiled gem: extensions that were built before, one for each Ruby, and nothing that only a build needs.
class NativeGem
  # @return [String] the version of Ruby for which an extension is built, such as "3.1"
  def self.ruby_version
    RUBY_VERSION[/\A\d+\.\d+/]
  end

  # @return [Gem::Platform] the platform of gems for this machine. `x86_64-linux` is the name for glibc.
  def self.platform
    Gem::Platform.local.dup.tap do |platform|
      platform.version = nil if platform.os == "linux" && platform.version&.start_with?("gnu")
    end
  end

  # Removes from the specification of a precompiled gem what only a build needs.
  # @param spec [Gem::Specification]
  def self.prepare(spec)
    spec.extensions.clear
    spec.files = spec.files.grep_v(%r{\A(ext/|Cargo\.)})
    spec.dependencies.reject! { |dependency| dependency.name == "rb_sys" }
    # Older versions of RubyGems take a gem for musl where they need one for glibc.
    spec.required_rubygems_version = ">= 3.3.22" if spec.platform.version == "musl"
  end

  # @param gemspec [Gem::Specification] that of the gem to build from source
  # @param extensions [Hash{String => String}] the file of the extension for each version of Ruby
  def initialize(gemspec, extensions)
    @gemspec = gemspec
    @extensions = extensions.sort_by { |version, _file| Gem::Version.new(version) }.to_h
  end

  # @return [Gem::Specification]
  def specification
    @gemspec.dup.tap do |spec|
      spec.platform = self.class.platform
      spec.required_ruby_version = ruby_versions
      self.class.prepare(spec)
      spec.files += installed.keys
    end
  end

  # @param folder [String] where to write the gem
  # @return [String] the gem's path
  def build(folder)
    FileUtils.mkdir_p(folder)
    target = File.join(File.expand_path(folder), specification.file_name)
    Dir.mktmpdir do |stage|
      copy_files(stage)
      Dir.chdir(stage) { Gem::Package.build(specification, false, true, target) }
    end
    target
  end

  private

  # lib/durable_streams.rb looks for the extensions there.
  def installed
    @extensions.to_h { |version, file| ["lib/durable_streams/#{version}/#{File.basename(file)}", file] }
  end

  def copy_files(stage)
    sources = specification.files.to_h { |file| [file, File.join(File.dirname(@gemspec.loaded_from), file)] }
    sources.merge(installed).each do |file, source|
      FileUtils.mkdir_p(File.join(stage, File.dirname(file)))
      FileUtils.cp(source, File.join(stage, file))
    end
  end

  def ruby_versions
    major, minor = @extensions.keys.last.split(".").map(&:to_i)
    [">= #{@extensions.keys.first}", "< #{major}.#{minor + 1}.dev"]
  end
end
