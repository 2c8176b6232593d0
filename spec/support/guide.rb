# frozen_string_literal: true

# The Ruby blocks of a guide in `docs`, as one program. A comment `# => value` after an expression says what it returns,
# and the program checks it.
class Guide
  FOLDER = File.expand_path("../../docs", __dir__)

  # @param name [String] of the file, such as "state.md"
  def initialize(name)
    @path = File.join(FOLDER, name)
  end

  # @param before [String] code that defines what the blocks use
  # @return [String] the program, which prints how many values it has checked
  def program(before)
    <<~RUBY
      #{before}
      CHECKED = []
      def check(line, actual, expected)
        raise "#{File.basename(@path)}:\#{line}: \#{actual.inspect} is not \#{expected.inspect}" unless actual == expected

        CHECKED << line
        actual
      end
      #{lines.join}
      puts "checked: \#{CHECKED.size}"
    RUBY
  end

  # @return [Integer] how many values the guide shows
  def values
    lines.grep(/^\s*check\(/).size
  end

  private

  # The lines of the Ruby blocks.
  def lines
    inside = false
    File.readlines(@path).each_with_index.filter_map do |line, index|
      if line.start_with?("```")
        inside = line.start_with?("```ruby")
        next
      end
      checked(line, index + 1) if inside
    end
  end

  def checked(line, number)
    line.sub(/\A(\s*)(\S.*?)\s+# => (.+)$/, "\\1check(#{number}, (\\2), (\\3))")
  end
end
