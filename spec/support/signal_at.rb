# frozen_string_literal: true

# Sends signals to processes of a program where methods begin: `ruby -r signal_at.rb …` with
#
# * SIGNAL_AT, such as "Shop.report=KILL,Shop::Order#publish=STOP". At each of these places, the first process that
#   comes there sends itself the signal;
# * SIGNAL_FOLDER, where each place leaves a file with the process's id.
module SignalAt
  class << self
    # Prepares the places when their methods are defined: at the end of the body of a class or module.
    # @param signals [Hash{String => String}] by place
    # @param folder [String]
    def watch(signals, folder)
      waiting = signals.keys
      TracePoint.new(:end) do |trace|
        waiting.reject! { |place| prepare(trace.self, place) { reached(place, signals[place], folder) } }
      end.enable
    end

    private

    # @return [Boolean] whether it is a method of this class or module
    def prepare(defined, place, &reached)
      owner, kind, name = place.match(/\A(.+)([.#])(.+)\z/).captures
      target = kind == "." ? defined.singleton_class : defined
      return false unless defined.name == owner && target.method_defined?(name)

      target.prepend(Module.new do
        define_method(name) do |*arguments, **options, &block|
          reached.call
          super(*arguments, **options, &block)
        end
      end)
      true
    end

    # Does not return before the process is gone, or has got CONT after STOP: a signal may take effect late.
    def reached(place, signal, folder)
      File.open(File.join(folder, place), File::WRONLY | File::CREAT | File::EXCL) { |file| file.print(Process.pid) }
      continued = Thread::Queue.new
      trap("CONT") { continued << true }
      Process.kill(signal, Process.pid)
      continued.pop
    rescue Errno::EEXIST
      nil
    end
  end

  if ENV.key?("SIGNAL_AT")
    watch(ENV["SIGNAL_AT"].split(",").to_h { |pair| pair.split("=") }, ENV.fetch("SIGNAL_FOLDER"))
  end
end
