# frozen_string_literal: true

require "set"
require "tsort"

# Reads the imports between the files of a Rust crate and finds cycles.
class ImportCheck
  include TSort

  # @param file [String]
  # @return [String] its code without comments and the tests at its end
  def self.code(file)
    File.read(file).sub(/^#\[cfg\((?:all\()?test.*?\]\nmod \w+ \{.*/m, "").gsub(%r{//.*$}, "")
  end

  # @param sources [String] the crate's `src` folder
  def initialize(sources)
    @sources = sources
    @files = Dir.glob("**/*.rs", base: sources).reject { |file| file.match?(%r{(\A|/)tests(/|\.rs\z)}) }.sort
    @modules = @files.to_h { |file| [module_path(file), file] }
    @imports = @files.to_h { |file| [file, imports_of(file)] }
  end

  # @return [Array<Array<String>>] groups of files that import one another, directly or indirectly
  def circles
    strongly_connected_components.select { |group| group.size > 1 }.map(&:sort)
  end

  private

  def tsort_each_node(&block)
    @files.each(&block)
  end

  def tsort_each_child(file, &block)
    @imports[file].each(&block)
  end

  # `reader/mod.rs` and `reader.rs` are the module `reader`; `lib.rs` is the crate itself.
  def module_path(file)
    path = file.delete_suffix(".rs").split("/")
    path.pop if %w[mod lib].include?(path.last)
    path
  end

  def imports_of(file)
    # The `super` of a module inside the file is the file itself.
    code = self.class.code(File.join(@sources, file)).gsub(/^( +(?:pub(?:\(\w+\))? )?use )super::/, '\1self::')
    here = module_path(file)
    children = @modules.keys.select { |path| path[0...-1] == here && !path.empty? }.map(&:last)
    paths = use_paths(code) + code.scan(/\b((?:crate|self|super)(?:::\w+)+)/).flatten
    found = paths.filter_map { |path| resolve(path.split("::"), here, children) }
    found.to_set.delete(file).to_a
  end

  def use_paths(code)
    code.scan(/\buse ([^;]+);/).flat_map { |(tree)| expand(tree.gsub(/\s+/, " ").strip) }
  end

  # `a::{b, c::{d, e}}` -> `a::b`, `a::c::d`, `a::c::e`
  def expand(tree)
    return [tree.sub(/ as \w+\z/, "")] unless tree.include?("{")

    prefix, rest = tree.split("{", 2)
    split_list(rest[0...rest.rindex("}")]).flat_map { |part| expand(part).map { |path| prefix + path } }
  end

  def split_list(list)
    depth = 0
    parts = list.each_char.slice_when do |char, _|
      depth += { "{" => 1, "}" => -1 }.fetch(char, 0)
      char == "," && depth.zero?
    end
    parts.map { |chars| chars.join.delete_suffix(",").strip }.reject(&:empty?)
  end

  # Returns the file of a path: that of the longest module at its beginning.
  def resolve(path, here, children)
    full = absolute(path, here, children) or return
    @modules[full.size.downto(0).map { |size| full.first(size) }.find { |module_path| @modules.key?(module_path) }]
  end

  def absolute(path, here, children)
    case path.first
    when "crate" then path.drop(1)
    when "self" then here + path.drop(1)
    when "super"
      levels = path.take_while { |part| part == "super" }.size
      here[0...-levels] + path.drop(levels)
    else children.include?(path.first) ? here + path : nil
    end
  end
end
