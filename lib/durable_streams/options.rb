# frozen_string_literal: true

module DurableStreams
  # Checks the values of options. A check returns the value, or raises an ArgumentError that names the option, what is
  # allowed and what was given.
  #
  # Headers, parameters and URLs may contain secrets. Their checks are elsewhere, and show only the class of a value.
  # @api private
  module Options
    # The largest integer that every server parses exactly, whatever its language (PROTOCOL.md 5.2.1).
    LARGEST = (2**53) - 1
    # Stands for an omitted argument.
    OMITTED = Object.new.freeze
    # The most characters of a value that a message shows.
    SHOWN = 60
    private_constant :SHOWN

    class << self
      # @param name [String] the option
      # @param allowed [String] what it must be
      # @param value [Object] what it is
      # @raise [ArgumentError] always
      def refuse(name, allowed, value)
        raise ArgumentError, "#{name} must be #{allowed}, got #{shown(value)}"
      end

      # @param value [Object]
      # @return [String] what an error message shows of it: a short value, and its class
      def shown(value)
        case value
        when nil, true, false then value.inspect
        when String, Symbol, Numeric, Array
          text = value.inspect
          "#{text.size > SHOWN ? "#{text[0, SHOWN]}…" : text} (#{value.class})"
        else value.class.to_s
        end
      end

      def integer(name, value, range)
        return value if value.is_a?(Integer) && range.cover?(value)

        last = range.end == LARGEST ? "2**53 - 1" : range.end
        refuse(name, "an Integer from #{range.begin} to #{last}", value)
      end

      # @param allowed [String] for the message; without "a number of"
      def positive(name, value, allowed = "seconds above 0")
        return value if number?(value) && value.positive?

        refuse(name, "a number of #{allowed}", value)
      end

      # @param allowed [String] for the message; without "a number of"
      def not_negative(name, value, allowed)
        return value if number?(value) && !value.negative?

        refuse(name, "a number of #{allowed}, 0 or more", value)
      end

      def one_of(name, value, choices)
        return value if choices.include?(value)

        *most, last = choices.map(&:inspect)
        refuse(name, "#{most.join(", ")} or #{last}", value)
      end

      def boolean(name, value)
        one_of(name, value, [true, false, nil])
      end

      # @param allowed [String] for the message
      def instance(name, value, klass, allowed = "a #{klass}")
        return value if value.is_a?(klass)

        raise ArgumentError, "#{name} must be #{allowed}, got #{class_of(value)}"
      end

      def callable(name, value)
        return value if value.nil? || value.respond_to?(:call)

        raise ArgumentError, "#{name} must respond to call, or be nil, got #{class_of(value)}"
      end

      # @param value [Object] may be a secret
      # @return [String] what an error message shows of it
      def class_of(value)
        value.nil? ? "nil" : value.class.to_s
      end

      # Refuses keywords that a method does not have. Unlike Ruby's own error, this one names those that it has.
      # @param unknown [Hash] the keywords
      # @param methods [Array<Method, UnboundMethod>] the methods that take them
      # @return [nil]
      # @raise [ArgumentError] if there are any
      def refuse_unknown(unknown, *methods)
        return if unknown.empty?

        known = methods.flat_map(&:parameters).filter_map { |kind, name| name if %i[key keyreq].include?(kind) }.uniq
        names = unknown.keys - known
        return if names.empty?

        raise ArgumentError, "unknown keyword#{"s" if names.size > 1}: #{names.map(&:inspect).join(", ")} " \
                             "(#{close_to(names, known)}known: #{known.join(", ")})"
      end

      private

      def number?(value)
        value.is_a?(Numeric) && value.real? && value.to_f.finite?
      end

      def close_to(names, known)
        return unless defined?(::DidYouMean::SpellChecker)

        checker = ::DidYouMean::SpellChecker.new(dictionary: known)
        close = names.filter_map { |name| checker.correct(name).first }
        "did you mean #{close.join(", ")}? " unless close.empty?
      end
    end
  end
end
