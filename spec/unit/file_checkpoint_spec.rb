# frozen_string_literal: true

require "pathname"
require "tmpdir"

RSpec.describe DurableStreams::Checkpoint::File do
  let!(:folder) { Dir.mktmpdir }
  let(:path) { File.join(folder, "orders.offset") }
  let!(:checkpoint) { described_class.new(path) }

  after { FileUtils.rm_rf(folder) }

  def error_of(operation, *arguments)
    checkpoint.public_send(operation, *arguments)
    raise "no error"
  rescue DurableStreams::CheckpointError => e
    e
  end

  it "loads nil if there is no file" do
    expect(checkpoint.load).to be_nil
    expect(Dir.children(folder)).to eq([])
  end

  it "stores the offset, and nothing else, in a line that people can read and write" do
    checkpoint.save("0_12")
    expect(File.read(path)).to eq("0_12\n")
    expect(described_class.new(Pathname(path)).load).to eq("0_12")
    File.write(path, " 0_13\r\n")
    expect(checkpoint.load).to eq("0_13").and have_attributes(encoding: Encoding::UTF_8)
  end

  it "replaces the file, which a reader sees with the old offset or the new one" do
    checkpoint.save("1" * 1_000)
    done = false
    readers = Array.new(2) do
      Thread.new do
        seen = []
        seen << described_class.new(path).load until done
        seen.uniq
      end
    end
    100.times { |count| checkpoint.save((count % 2).to_s * 1_000) }
    done = true
    expect(readers.flat_map(&:value).uniq - %w[0 1].map { |digit| digit * 1_000 }).to eq([])
    expect(Dir.children(folder)).to eq(["orders.offset"])
  end

  it "writes the data to the disk before the rename, and the folder after it" do
    calls = []
    trace = TracePoint.new(:c_call) do |call|
      calls << :rename if call.method_id == :rename
      calls << (File.directory?(call.self.path) ? :sync_folder : :sync_file) if call.method_id == :fsync
    end
    trace.enable { checkpoint.save("1") }
    expect(calls).to eq(%i[sync_file rename sync_folder])
  end

  it "does not depend on the current folder" do
    relative = Dir.chdir(folder) { described_class.new("orders.offset") }
    relative.save("1")
    expect(relative.path).to eq(File.expand_path(path))
    expect(checkpoint.load).to eq("1")
  end

  it "writes to the target of a symbolic link, also of one whose target does not exist yet" do
    link = File.join(folder, "link")
    File.symlink(path, link)
    2.times { |count| described_class.new(link).save(count.to_s) }
    expect(File.symlink?(link)).to be(true)
    expect(checkpoint.load).to eq("1")
  end

  it "is not mixed up with itself in forked children and threads that save at once" do
    children = Array.new(3) do |child|
      ChildProcess.start do
        Array.new(3) { |thread| Thread.new { 20.times { checkpoint.save("#{child}#{thread}" * 50) } } }.each(&:join)
        nil
      end
    end
    children.each(&:value)
    expect(checkpoint.load).to match(/\A(\d\d)\1{49}\z/)
    expect(Dir.children(folder)).to eq(["orders.offset"])
  end

  it "removes its temporary file if an interrupt or an error ends the save" do
    allow(File).to receive(:rename).and_raise(Errno::ENOSPC)
    expect(error_of(:save, "1").message).to eq("cannot save the checkpoint #{path}: No space left on device")
    allow(File).to receive(:rename) { Thread.exit }
    Thread.new { checkpoint.save("1") }.join
    expect(Dir.children(folder)).to eq([])
  end

  describe "with a folder that cannot be used" do
    it "says that the folder does not exist, when it loads and when it saves" do
      Dir.rmdir(folder)
      message = "cannot save the checkpoint #{path}: the folder #{folder} does not exist"
      expect(error_of(:load)).to have_attributes(message: message, code: "CHECKPOINT", cause: Errno::ENOENT)
      expect(error_of(:save, "1")).to have_attributes(message: message, cause: Errno::ENOENT)
      Dir.mkdir(folder)
    end

    # Root may write everywhere, so the child becomes another user.
    it "says that the folder is not writable, when it loads and when it saves" do
      File.chmod(0o555, folder)
      messages = ChildProcess.run do
        Process::Sys.setuid(65_534) if Process.uid.zero?
        [error_of(:load), error_of(:save, "1")].map(&:message)
      end
      expect(messages).to eq(["cannot save the checkpoint #{path}: the folder #{folder} is not writable"] * 2)
    end

    it "loads an existing file from a folder that is not writable" do
      checkpoint.save("1")
      File.chmod(0o555, folder)
      loaded = ChildProcess.run do
        Process::Sys.setuid(65_534) if Process.uid.zero?
        checkpoint.load
      end
      expect(loaded).to eq("1")
    end
  end

  it "says that it cannot read the file" do
    Dir.mkdir(path)
    expect(error_of(:load)).to have_attributes(message: /\Acannot load the checkpoint #{path}: Is a directory/,
                                               cause: Errno::EISDIR)
    expect(error_of(:save, "1").message).to match(/\Acannot save the checkpoint #{path}: Is a directory/)
  end

  ["", "\n", "1 2", "1\n2\n", "{\"offset\": 1}", "\xFF\xFE".b, "\0", "ä", "1" * 5_000].each do |content|
    it "does not take a file with #{content[0, 20].inspect} for a checkpoint" do
      File.write(path, content)
      message = "cannot load the checkpoint: file #{path} does not have an offset, but " \
                "#{content.strip[0, 80].inspect}. Write an offset, or delete it to begin anew"
      expect(error_of(:load).message).to eq(message)
    end
  end

  it "raises ArgumentError for arguments that are no path or no offset" do
    expect { described_class.new(nil) }.to raise_error(ArgumentError, "path must be a String or Pathname, got nil")
    [nil, 7, "", "1 2", "1\n", "ä", "\xFF"].each do |offset|
      message = "offset must be an offset from the server (a String), got "
      expect { checkpoint.save(offset) }.to raise_error(ArgumentError, /\A#{Regexp.escape(message)}/)
    end
    expect(checkpoint.load).to be_nil
  end

  it "shows its path" do
    expect(checkpoint.inspect).to eq("#<DurableStreams::Checkpoint::File #{path}>")
  end
end

RSpec.describe DurableStreams::Checkpoint::Memory do
  it "begins at the beginning, or at a given offset" do
    expect(described_class.new.load).to be_nil
    expect(described_class.new("now").load).to eq("now")
  end

  it "remembers the last offset" do
    checkpoint = described_class.new
    %w[1 2].each { |offset| checkpoint.save(offset) }
    expect(checkpoint.load).to eq("2")
  end

  it "raises ArgumentError for what is no offset" do
    expect { described_class.new(1) }.to raise_error(ArgumentError, /\Aoffset must be an offset .*, got 1 \(Integer\)/)
    expect { described_class.new.save("") }.to raise_error(ArgumentError, /offset must be an offset/)
  end
end
