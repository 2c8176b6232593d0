# frozen_string_literal: true

module DurableStreams
  # Checks and merges the headers and query parameters of users. The extension checks the content of values. Error
  # messages contain the name, never the value.
  # @api private
  module RequestOptions
    NONE = {}.freeze
    ALLOWED = "a String, a Symbol, a number, true, false, nil, or something that responds to call"
    private_constant :ALLOWED

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
          unless value.respond_to?(:call)
            raise ArgumentError, "#{argument}[#{name.inspect}] must be #{ALLOWED}, got #{value.class}"
          end

          check_arity(value, "#{argument}[#{name.inspect}]")
          value
        end
      end

      # Procs that are not lambdas accept any arguments.
      def check_arity(callable, name)
        return unless callable.is_a?(Method) || (callable.is_a?(Proc) && callable.lambda?)

        needed = callable.arity.negative? ? ~callable.arity : callable.arity
        return if needed.zero?

        raise ArgumentError, "#{name} is called without arguments, but the #{callable.class} requires #{needed}"
      end
    end
  end
end
