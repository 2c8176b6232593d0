# frozen_string_literal: true

# Loaded by yard for the site (see Documentation): a guide has its first heading as its title, not the file's name.
module FirstHeading
  def title
    attributes[:title] || contents[/\A# (.+)$/, 1] || name
  end
end

YARD::CodeObjects::ExtraFileObject.prepend(FirstHeading)
