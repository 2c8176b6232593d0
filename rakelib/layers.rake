# frozen_string_literal: true

require_relative "import_check"

namespace :lint do
  # Dependencies that a crate must not have, directly or indirectly. (Cargo itself prevents imports that point up.)
  foreign = {
    "durable-streams-protocol" => %w[tokio reqwest hyper mio magnus],
    "durable-streams-client" => %w[magnus rb-sys]
  }

  desc "Check the dependencies of each crate, and that its files do not import each other in a cycle"
  task :layers do
    foreign.each do |crate, names|
      tree = IO.popen(%W[cargo tree --locked --package #{crate} --edges normal --prefix none], &:read)
      abort "cargo tree --package #{crate} failed" unless $CHILD_STATUS.success?

      found = tree.lines.map { |line| line[/\S+/] }.uniq & names
      abort "#{crate} must not depend on #{found.join(", ")}" if found.any?
    end

    reads_clock = /\b(Instant|SystemTime)::now\(|\bstd::thread\b/
    FileList["ext/protocol/src/**/*.rs"].exclude(%r{/tests(/|\.rs)}).each do |file|
      abort "#{file} reads the clock or uses threads" if ImportCheck.code(file).match?(reads_clock)
    end

    FileList["ext/*/src"].each do |sources|
      circle = ImportCheck.new(sources).circles.first
      abort "#{sources}: these files import each other: #{circle.join(", ")}" if circle
    end
    puts "layers: dependencies and imports point down"
  end
end
