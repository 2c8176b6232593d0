# frozen_string_literal: true

require "fileutils"
require "json"
require "securerandom"
require "tmpdir"
require_relative "child_process"

# A guide: README.md or a file in docs. Its Ruby blocks run as one program, in their order, against a real server. Line
# numbers and names in backtraces are the guide's.
#
# * A block that begins with a comment such as `# config/puma.rb` is a file of its own in the program's folder. The
#   program, or a command that it starts, has to load it.
# * `# => value` after an expression in one line says what it returns, `# raises SomeError` what it raises. The program
#   checks it.
# * URLs that begin with URL are on the server of the run.
# * spec/documented/guides has a file for each guide with what its blocks use, such as methods that they call. It is
#   loaded before the guide. See GuideProgram.
# * Every line of every block has to run, unless that file says that it does not.
class Guide
  ROOT = File.expand_path("../..", __dir__)
  CONTEXTS = File.join(ROOT, "spec/documented/guides")
  PROGRAM = File.join(ROOT, "spec/documented/guide_program.rb")
  URL = "http://localhost:4437"
  BLOCK = /^```ruby\n(.*?)^```$/m
  FILE = %r{\A# ([\w./-]+\.(?:rb|ru))$}

  # A Ruby block: the number of its first line, its lines, and the name of its file or nil.
  Block = Struct.new(:number, :lines, :file)

  # @return [Array<Guide>] those that have Ruby blocks
  def self.all
    names = ["README.md", *Dir.glob("docs/*.md", base: ROOT).sort]
    names.map { |name| new(name) }.reject { |guide| guide.blocks.empty? }
  end

  # @return [Array<String>] names of the files in CONTEXTS
  def self.contexts
    Dir.children(CONTEXTS).sort
  end

  # @return [String] such as "docs/state.md"
  attr_reader :name

  # @param name [String] of the file, below the project's folder
  def initialize(name)
    @name = name
  end

  # @return [String] the name that its file in CONTEXTS has, if there is one
  def context
    "#{File.basename(@name, ".md").downcase.tr("-", "_")}.rb"
  end

  # @return [Array<Block>]
  def blocks
    @blocks ||= text.to_enum(:scan, BLOCK).map do
      match = Regexp.last_match
      Block.new(match.pre_match.count("\n") + 2, match[1].lines, match[1][FILE, 1])
    end
  end

  # @return [Hash{String => String}] the blocks that are files: name => text
  def files
    blocks.select(&:file).to_h { |block| [block.file, block.lines.join] }
  end

  # Runs the guide.
  # @param server_url [String]
  # @param files [Boolean] whether to run the blocks that are files, too
  # @return [Array<String>] what is wrong: lines that did not run, in the form "docs/state.md:12: text"
  # @raise [ChildProcess::Failure] if the program failed
  def run(server_url, files: true)
    Dir.mktmpdir("durable-streams-guide-") do |folder|
      FileUtils.mkdir(File.join(folder, ".guide"))
      url = "#{server_url}/guides/#{SecureRandom.hex(8)}"
      programs = blocks.reject(&:file).group_by { File.basename(@name) }
      programs.merge!(blocks.select(&:file).group_by(&:file)) if files
      programs.each { |name, blocks| write(folder, name, blocks, url) }
      execute(folder, url)
      result(folder, programs)
    end
  end

  private

  def text
    @text ||= File.read(File.expand_path(@name, ROOT))
  end

  def lines
    @lines ||= text.lines
  end

  # Writes a program with the blocks on the lines that they have in the guide.
  def write(folder, name, blocks, url)
    program = Array.new(lines.size, "\n")
    blocks.each do |block|
      program[block.number - 2] = "GuideProgram.begin_block(#{block.number})\n" unless block.file
      block.lines.each_with_index do |line, index|
        program[block.number - 1 + index] = checked(line.gsub(URL, url), block.number + index)
      end
    end
    path = File.join(folder, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.write(path, program.join)
  end

  def checked(line, number)
    line.sub(/(\S.*?)\s+# => (.+)$/, "GuideProgram.check(#{number}, (\\1), (\\2))")
        .sub(/(\S.*?)\s+# raises (\S+)$/, "GuideProgram.raises(#{number}, \\2) { \\1 }")
  end

  def execute(folder, url)
    environment = { "GUIDE_FOLDER" => folder, "GUIDE_URL" => url, "GUIDE_FIRST_LINES" => JSON.generate(first_lines),
                    "RUBYOPT" => "#{ENV.fetch("RUBYOPT", nil)} -I#{ChildProcess::LIB} -r#{PROGRAM}" }
    context = File.join(CONTEXTS, self.context)
    start = "GuideProgram.run(#{File.basename(@name).inspect}, #{(context if File.file?(context)).inspect})"
    ended = ChildProcess.command(environment, RbConfig.ruby, "-C", folder, "-e", start).ended
    return if ended.status.success?

    raise ChildProcess::Failure, "#{@name} ended with #{ended.status}, having printed:\n#{ended.output}"
  end

  def first_lines
    blocks.reject(&:file).to_h { |block| [block.number, block.lines.first] }
  end

  # Compares which lines ran, in any process, with those that have to.
  def result(folder, programs)
    reports = Dir.glob("#{folder}/.guide/*.json").map { |file| JSON.parse(File.read(file)) }
    excused = reports.flat_map { |report| report["not_run"] }.uniq
    idle = programs.keys.flat_map { |name| idle_lines(reports, name) }.sort
    idle = idle.to_h { |line| [line, lines[line - 1].strip] }
    wrong = idle.reject { |_, text| excused.include?(text) }.map { |line, text| "#{@name}:#{line}: #{text}" }
    wrong + (excused - idle.values).map { |text| "#{@name}: runs, or is not there: #{text}" }
  end

  # @return [Array<Integer>] the lines of a program that no process has run
  def idle_lines(reports, name)
    runs = reports.map { |report| report["runs"][name] }.compact
    return [blocks.find { |block| block.file == name }.number] if runs.empty?

    runs.flat_map(&:keys).uniq.reject { |line| runs.any? { |run| run[line] } }.map(&:to_i)
        .reject { |line| lines[line - 1].start_with?("```") }
  end
end
