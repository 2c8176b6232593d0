# frozen_string_literal: true

module DurableStreams
  module Checkpoint
    # An offset in a file that contains nothing else. A save replaces the file in one step and returns when it is on the
    # disk, so a crash at any moment leaves the old offset or the new one.
    #
    # A process that is killed during a save may leave a temporary file beside the file (`orders.offset.4711.8.tmp`). It
    # has no effect.
    class File
      # @return [String] absolute
      attr_reader :path

      # @param path [String, Pathname] the folder must exist
      # @raise [ArgumentError] if it is not a path
      def initialize(path)
        Options.refuse("path", "a String or Pathname", path) unless path.is_a?(String) || path.respond_to?(:to_path)

        @path = ::File.expand_path(path)
      end

      # @return [String, nil] nil if there is no file
      # @raise [CheckpointError] if the file cannot be read, or contains anything else; if there is none, and the folder
      #   does not exist or is not writable
      def load
        offset = ::File.binread(path, MAX_BYTES + 2).to_s
        Checkpoint.check_loaded(offset.strip.force_encoding(Encoding::UTF_8), "file #{path}")
      rescue Errno::ENOENT
        check_folder
      rescue SystemCallError => e
        raise CheckpointError, "cannot load the checkpoint #{path}: #{e.message}"
      end

      # @param offset [String]
      # @return [nil]
      # @raise [ArgumentError] if it cannot be an offset
      # @raise [CheckpointError] if the file cannot be written
      def save(offset)
        Checkpoint.check_offset(offset)
        target = ::File.realdirpath(path) # A rename would replace a symbolic link.
        replace(target, "#{offset}\n")
        sync(::File.dirname(target))
        nil
      rescue SystemCallError => e
        check_folder
        raise CheckpointError, "cannot save the checkpoint #{path}: #{e.message}"
      end

      # @return [String]
      def inspect
        "#<#{self.class} #{path}>"
      end

      private

      # The temporary file belongs to this process and thread alone.
      def replace(target, text)
        temporary = "#{target}.#{Process.pid}.#{Thread.current.object_id}.tmp"
        ::File.open(temporary, "w") do |file|
          file.write(text)
          file.fsync
        end
        ::File.rename(temporary, target)
      ensure
        ::File.delete(temporary) if ::File.exist?(temporary)
      end

      # Makes the rename durable. Windows cannot open folders.
      def sync(folder)
        ::File.open(folder, &:fsync) unless ::File::ALT_SEPARATOR
      end

      # Lets a consumer fail before its first batch, not after it.
      def check_folder
        folder = ::File.dirname(path)
        problem = if !::File.directory?(folder) then "does not exist"
                  elsif !::File.writable?(folder) then "is not writable"
                  end
        raise CheckpointError, "cannot save the checkpoint #{path}: the folder #{folder} #{problem}" if problem
      end
    end
  end
end
