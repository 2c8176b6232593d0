# frozen_string_literal: true

require "json"

# Part of every process that runs code of a guide: see Guide in spec/support/guide.rb. It records which lines run. The
# files in spec/documented/guides use `url`, `before`, `finish` and `not_run`.
module GuideProgram
  FOLDER = File.realpath(ENV.fetch("GUIDE_FOLDER"))
  @before = {}
  @finish = []
  @not_run = []
  @runs = Hash.new { |runs, file| runs[file] = {} } # file => line => whether it ran

  class << self
    # @return [String] the URL that replaces Guide::URL, below which this run has its streams
    def url
      ENV.fetch("GUIDE_URL")
    end

    # Runs code before a block of the guide.
    # @param text [String] a part of the block's first line
    def before(text, &code)
      @before[text] = code
    end

    # Runs code after the last block.
    def finish(&code)
      @finish << code
    end

    # Names lines that do not run here, such as the branch of a `case` for an error that the guide does not cause.
    # @param lines [Array<String>] without the spaces around them
    def not_run(*lines)
      @not_run.concat(lines)
    end

    # Runs the guide's program.
    # @param name [String] of its file in FOLDER
    # @param context [String, nil] path of the file that is loaded before
    def run(name, context)
      $stdout.sync = true
      require "durable_streams"
      load(context) if context
      load(File.join(FOLDER, name))
      raise "no block begins with #{@before.keys.inspect}" unless @before.empty?

      @finish.each(&:call)
    end

    # Called at the beginning of each block.
    # @param number [Integer] of its first line
    def begin_block(number)
      first = JSON.parse(ENV.fetch("GUIDE_FIRST_LINES")).fetch(number.to_s)
      text = @before.keys.find { |part| first.include?(part) }
      @before.delete(text)&.call
    end

    # Called for `actual # => expected`.
    def check(number, actual, expected)
      raise "line #{number}: #{actual.inspect} is not #{expected.inspect}" unless actual == expected

      actual
    end

    # Called for `actual # raises SomeError`.
    def raises(number, error)
      value = yield
    rescue error
      nil
    else
      raise "line #{number}: #{error} was not raised, but #{value.inspect} returned"
    end

    # Observes which lines of a file run: also of those that are evaluated, as Puma's configuration is.
    def observe(code)
      file = File.expand_path(code.path, FOLDER)
      return unless file.start_with?("#{FOLDER}/")

      runs = @runs[file.delete_prefix("#{FOLDER}/")]
      each_line_of(code) { |line| runs[line] ||= false }
      return if runs.empty?

      TracePoint.new(:line) { |trace| runs[trace.lineno] = true }.enable(target: code)
    end

    # Writes down which lines this process has run. Those of its parent before a fork are included.
    def report
      File.write("#{FOLDER}/.guide/#{Process.pid}.json", JSON.generate("runs" => @runs, "not_run" => @not_run))
    end

    private

    def each_line_of(code, &block)
      code.trace_points.each { |line, event| yield line if event == :line }
      code.each_child { |child| each_line_of(child, &block) }
    end
  end

  TracePoint.new(:script_compiled) { |trace| observe(trace.instruction_sequence) }.enable
  at_exit { report }
end

# Guides show lines of a Gemfile.
def self.gem(name, *)
  super unless name == "durable_streams"
end
