# frozen_string_literal: true

# Only the blocks that are not files of the application run here: see RailsApp.
require "rspec/core"
