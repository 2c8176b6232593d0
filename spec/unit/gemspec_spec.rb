# frozen_string_literal: true

require "rubygems/package"
require "tmpdir"

# What the gem consists of.
RSpec.describe "The gem" do
  let(:root) { File.expand_path("../..", __dir__) }
  let(:gemspec) { Gem::Specification.load(File.join(root, "durable_streams.gemspec")) }
  let(:files) { gemspec.files }

  # A file and those of the modules that it declares, other than tests.
  def modules(file)
    code = File.read(File.join(root, file)).gsub(/^#\[cfg\((?:all\()?test.*\]\n(?:pub(?:\(\w+\))? )?mod \w+;/, "")
    folder = %w[lib mod].include?(File.basename(file, ".rs")) ? File.dirname(file) : file.delete_suffix(".rs")
    declared = code.scan(/^\s*(?:pub(?:\(\w+\))? )?mod (\w+);/).flatten.map do |name|
      ["#{folder}/#{name}.rs", "#{folder}/#{name}/mod.rs"].find { |path| File.file?(File.join(root, path)) } ||
        raise("#{file}: the module #{name} has no file")
    end
    elsewhere = code.scan(/^#\[cfg_attr\(.*path = "(.*)"/).flatten.map { |path| File.join(File.dirname(file), path) }
    [file, *elsewhere, *declared.flat_map { |path| modules(path) }]
  end

  it "builds without warnings" do
    Dir.mktmpdir do |folder|
      Gem::DefaultUserInteraction.use_ui(Gem::SilentUI.new) do
        Dir.chdir(root) { Gem::Package.build(gemspec, false, true, File.join(folder, "durable_streams.gem")) }
      end
      expect(Dir.children(folder)).to eq(["durable_streams.gem"])
    end
  end

  it "includes what Cargo needs, and no tests" do
    sources = Dir.glob("ext/*/src/lib.rs", base: root).flat_map { |file| modules(file) }
    needed = Dir.glob("{Cargo.{toml,lock},ext/*/{Cargo.toml,build.rs,*.rb}}", base: root) + sources
    expect(files.grep(/\Aext|Cargo/)).to match_array(needed)
  end

  it "includes nothing else but the library, its documentation and examples" do
    top = files.map { |file| file.include?("/") ? "#{file[%r{\A[^/]+}]}/" : file }.uniq
    expect(top).to match_array(%w[lib/ sig/ docs/ examples/ ext/ Cargo.toml Cargo.lock README.md CHANGELOG.md
                                  SECURITY.md .yardopts LICENSE])
    expect(files.grep(/_spec\.rb|\.so\z|fixture/)).to eq([])
  end

  it "includes every file that the README and the guides name" do
    %w[README.md docs/*.md].flat_map { |pattern| Dir.glob(pattern, base: root) }.each do |page|
      named = File.read(File.join(root, page)).scan(/\]\(((?!https?:)[^)#]+)/).flatten
      named.map! { |name| File.expand_path(name, File.dirname("/#{page}")).delete_prefix("/") }
      missing = named.reject { |name| files.any? { |file| file == name || file.start_with?("#{name}/") } }
      expect([page, missing]).to eq([page, []])
    end
  end

  it "has the version of its Rust crates, and of the policy in SECURITY.md" do
    expect(File.read(File.join(root, "Cargo.toml"))[/^version = "(.*)"/, 1]).to eq(DurableStreams::VERSION)
    expect(File.read(File.join(root, "SECURITY.md"))).to include("now #{DurableStreams::VERSION[/\A\d+\.\d+/]}.")
  end

  it "names the oldest Rust that Cargo.toml allows" do
    oldest = File.read(File.join(root, "Cargo.toml"))[/^rust-version = "(.*)"/, 1]
    %w[README.md docs/installation.md].each do |file|
      named = File.read(File.join(root, file)).scan(/Rust(?:\]\(\S+\))?\s(\d+\.\d+) or later/).flatten
      expect(named.uniq).to eq([oldest])
    end
  end
end
