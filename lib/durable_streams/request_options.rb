# frozen_string_literal: true

module DurableStreams
  # Checks and merges the headers and query parameters of users. The extension checks the content of values. Error
  # messages contain the name, never the value.
  # @api private
  module RequestOptions
    NONE = {}.freeze
    BATCHING = [true, false, :shared_values].freeze

    class << self
      # @param options [Hash, nil] name => String, Symbol, number, boolean, value callable, or nil
      # @param argument [String] the keyword, for error messages
      # @return [Hash{String => String, #call, nil}] frozen
      # @raise [ArgumentError] if a name or value is anything else
      def normalize(options, argument)
        return NONE if options.nil? || options.equal?(NONE)
        raise ArgumentError, "#{argument} must be a Hash, got #{options.class}" unless options.is_a?(Hash)
        return NONE if options.empty?

        options.to_h { |name, value| [name_of(name, argument), value_of(value, name, argument)] }.freeze
      end

      # Merges headers; names match in any case. The handle's own headers replace the client's.
      # @param defaults [Hash{String => Object}] normalized
      # @param own [Hash{String => Object}] normalized
      # @return [Hash{String => Object}]
      def merge_headers(defaults, own)
        return defaults if own.empty?
        return own if defaults.empty?

        replaced = own.each_key.map(&:downcase)
        defaults.reject { |name, _| replaced.include?(name.downcase) }.merge!(own).freeze
      end

      # @param defaults [Hash{String => Object}] normalized
      # @param own [Hash{String => Object}] normalized
      # @return [Hash{String => Object}]
      def merge_params(defaults, own)
        own.empty? ? defaults : defaults.merge(own).freeze
      end

      # @param batching [Boolean, Symbol]
      # @return [Boolean, Symbol] the argument
      # @raise [ArgumentError] unless it is true, false or :shared_values
      def batching(batching)
        return batching if BATCHING.include?(batching)

        raise ArgumentError, "batching must be true, false or :shared_values, got #{batching.inspect}"
      end

      # @param exactly_once [Boolean, nil]
      # @return [Boolean, nil] the argument
      # @raise [ArgumentError] unless it is true, false or nil
      def exactly_once(exactly_once)
        return exactly_once if [true, false, nil].include?(exactly_once)

        raise ArgumentError, "exactly_once must be true, false or nil, got #{exactly_once.inspect}"
      end

      private

      def name_of(name, argument)
        case name
        when String then -name
        when Symbol then name.name
        else raise ArgumentError, "#{argument} must have String or Symbol names, got #{name.class}"
        end
      end

      def value_of(value, name, argument)
        case value
        when nil then nil
        when String then value.frozen? ? value : value.dup.freeze
        when Symbol, Numeric, true, false then value.to_s.freeze
        else
          return value if value.respond_to?(:call)

          raise ArgumentError, "#{argument}[#{name.inspect}] must be a String or respond to call, got #{value.class}"
        end
      end
    end
  end
end
