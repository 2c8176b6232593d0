# frozen_string_literal: true

require "English"
require "rbconfig"

# The site that yard makes of the documentation in lib, README.md and docs.
class Documentation
  FOLDER = "tmp/docs"
  # The list of guides. The site has its own list of files instead: yard has one page for all files of a name.
  INDEX = "docs/README.md"
  # The site's style and titles.
  TEMPLATE = %w[--template-path rakelib/yard --load rakelib/yard/titles.rb].freeze

  # @return [Boolean] whether yard is installed
  def self.available?
    Gem::Specification.find_all_by_name("yard").any?
  end

  # @param repository [String] URL of the repository, for links to files that are not part of the site
  def initialize(repository)
    @repository = repository
  end

  # @return [Array<String>] yard's warnings, and the public objects without documentation
  def build
    output = yard("doc", "--no-cache", "--output-dir", FOLDER, *TEMPLATE)
    Dir.glob("#{FOLDER}/{file.*,index}.html").each { |file| File.write(file, link(File.read(file))) }
    problems = output.scan(/^\[(?:warn|error)\].*(?:\n\s+.*)*/)
    problems << yard("stats", "--list-undoc") unless output.include?("100.00% documented")
    problems + missing_guides
  end

  private

  # .yardopts lists the guides in the order for a newcomer.
  def missing_guides
    guides = Dir.glob("docs/*.md") - [INDEX]
    guides.reject { |guide| File.file?(page(guide)) }.map { |guide| "#{guide} is not listed in .yardopts" }
  end

  def page(path)
    File.join(FOLDER, "file.#{File.basename(path, ".md")}.html")
  end

  def yard(command, *options)
    output = IO.popen([RbConfig.ruby, Gem.bin_path("yard", "yard"), command, "--db", "tmp/.yardoc", *options],
                      err: %i[child out], &:read)
    $CHILD_STATUS.success? ? output : raise("yard #{command} failed:\n#{output}")
  end

  # Links of the README and docs name files of the repository. Points them to the site's page of the file, if there is
  # one, else to the repository.
  def link(html)
    html.gsub(/href="(?![a-z]+:)([^"#]+)/) do |attribute|
      path = Regexp.last_match(1)
      next attribute if File.file?(File.join(FOLDER, path))
      next 'href="file_list.html' if path == INDEX
      next "href=\"#{File.basename(page(path))}" if path.match?(/\.md\z|LICENSE/) && File.file?(page(path))

      "href=\"#{@repository}/blob/main/#{path.delete_prefix("../")}"
    end
  end
end
