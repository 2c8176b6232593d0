# frozen_string_literal: true

# Runs the Ruby code of each guide: see Guide. What a guide needs may be missing on a release that `bin/matrix` tests.
gems = { "docs/consumers.md" => %w[activerecord sqlite3], "docs/fibers.md" => %w[rack],
         "docs/observability.md" => %w[activesupport], "docs/processes.md" => %w[puma sidekiq],
         "docs/testing.md" => %w[minitest], "docs/workers.md" => %w[activerecord puma rack sqlite3],
         "README.md" => %w[rails] }
# Whether a gem can be loaded, with all that it depends on.
loadable = lambda do |name|
  gem name
rescue Gem::LoadError
  false
else
  true
end

Guide.all.each do |guide|
  missing = gems.fetch(guide.name, []).reject(&loadable)
  missing << "Ruby 3.1" if guide.name == "docs/fibers.md" && RUBY_VERSION < "3.1"
  unless missing.empty?
    RSpec.configuration.reporter.message("SKIPPED: #{guide.name}. Missing: #{missing.join(", ")}")
    next
  end

  on_servers = guide.name == "docs/workers.md" ? :on_server_with_subscriptions : :on_each_server
  send(on_servers, guide.name) do
    # The files of these guides are parts of applications, which other specs run: in spec/rails and spec/browsers.
    applications = %w[docs/browsers.md docs/rails.md]

    it "has Ruby code of which every line runs" do
      expect(guide.run(server_url, files: !applications.include?(guide.name))).to eq([])
    end
  end
end

RSpec.describe Guide do
  it "has a guide for each file in spec/documented/guides" do
    expect(described_class.contexts - described_class.all.map(&:context)).to eq([])
  end

  # Runs a guide with this Ruby code in two blocks.
  def run(*blocks)
    Dir.mktmpdir do |folder|
      path = File.join(folder, "guide.md")
      File.write(path, blocks.map { |block| "Text.\n\n```ruby\n#{block}```\n" }.join("\n"))
      described_class.new(path).run("http://127.0.0.1:9").map { |problem| problem.delete_prefix(path) }
    end
  end

  it "finds lines that do not run" do
    expect(run("a = 1\n", "begin\n  a + 1 # => 2\nrescue ArgumentError\n  exit\nend\n")).to eq([":13: exit"])
  end

  it "finds blocks that do not run" do
    expect(run("exit\n", "1 + 1\n2 + 2\n")).to eq([":10: 1 + 1", ":11: 2 + 2"])
    expect(run("exit\n", "# config/puma.rb\n1 + 1\n")).to eq([":10: # config/puma.rb"])
  end

  it "counts what other processes run" do
    expect(run("Process.wait(fork { Integer('1') })\n", "# a.rb\n1 + 1\n", "system(RbConfig.ruby, 'a.rb')\n")).to eq([])
  end

  it "checks the values and errors that are shown" do
    expect(run("a = 1\nInteger('x') # raises ArgumentError\n", "a # => 1\n")).to eq([])
    expect { run("1 + 1 # => 3\n") }.to raise_error(ChildProcess::Failure, /line 4: 2 is not 3/)
    expect { run("1 + 1 # raises KeyError\n") }.to raise_error(ChildProcess::Failure, /line 4: KeyError was not raised/)
  end
end
