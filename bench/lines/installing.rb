# frozen_string_literal: true

require "open3"
require "tmpdir"

module Bench
  # An installation from source, which compiles everything. It takes minutes, so it is measured only if it is named.
  class Installing < Line
    line "install", "installation from source"
    figure :seconds, "time", "s", [:at_most, 120]
    figure :cpu, "processor time", "s"
    figure :mb, "size of the extension", "MB", [:at_most, 4]

    def self.on_request?
      true
    end

    # The measuring child loads no client. It builds and installs the gem of the client's folder.
    def prepare(url, client)
      super.merge("bare" => true)
    end

    def work(_params)
      root = File.dirname($LOAD_PATH.first)
      Dir.mktmpdir("durable-streams-bench-") do |folder|
        gem = File.join(folder, "source.gem")
        run("gem", "build", "durable_streams.gemspec", "--output", gem, chdir: root)
        before = Process.times.then { |times| times.cutime + times.cstime }
        seconds = Measure.seconds { install(gem, folder) }
        cpu = Process.times.then { |times| times.cutime + times.cstime } - before
        { seconds: seconds, cpu: cpu, mb: File.size(extension(folder)) / 1e6 }
      end
    end

    def limit
      1_800
    end

    def missing(client)
      "its extension is not its own" unless client == "gem"
    end

    private

    def install(gem, folder)
      run("gem", "install", "--local", "--ignore-dependencies", "--no-document", "--install-dir", folder, gem)
    end

    def extension(folder)
      Dir.glob("#{folder}/gems/*/lib/**/durable_streams.{so,bundle}").first or raise "no extension was installed"
    end

    def run(*command, **options)
      output, status = Open3.capture2e(*command, **options)
      raise "#{command.join(" ")}: #{output}" unless status.success?
    end
  end
end
