# frozen_string_literal: true

require "rails/generators"

module DurableStreams
  # Generators of Rails.
  module Generators
    # `rails generate durable_streams:initializer` writes config/initializers/durable_streams.rb.
    class InitializerGenerator < ::Rails::Generators::Base
      source_root File.expand_path("templates", __dir__)
      desc "Writes config/initializers/durable_streams.rb, with the settings of durable_streams."

      # @return [void]
      def write_initializer
        copy_file "initializer.rb", "config/initializers/durable_streams.rb"
      end
    end
  end
end
