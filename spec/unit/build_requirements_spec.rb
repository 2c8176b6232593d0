# frozen_string_literal: true

require_relative "../../ext/durable_streams/build_requirements"

RSpec.describe BuildRequirements do
  {
    debian: ["ID=debian\n", "ID=ubuntu\nID_LIKE=debian\n", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"],
    fedora: ["ID=fedora\n", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"],
    alpine: ["NAME=\"Alpine Linux\"\nID=alpine\n"],
    nil => ["ID=arch\n", ""]
  }.each do |system, files|
    it "recognizes #{system || "no other system"} by os-release" do
      expect(files.map { |file| described_class.system(host_os: "linux-gnu", os_release: file) }).to all(eq(system))
    end
  end

  it "recognizes macOS and Windows by RbConfig" do
    expect(described_class.system(host_os: "darwin23")).to eq(:macos)
    expect(described_class.system(host_os: "mingw32")).to eq(:windows)
  end

  describe "with nothing installed" do
    before do
      stub_const("#{described_class}::LIBCLANG", { // => [] })
      stub_const("RbConfig::CONFIG", RbConfig::CONFIG.merge("rubyhdrdir" => "/missing", "prefix" => "/usr"))
    end

    let(:nothing) { { "CARGO" => "/missing/cargo", "CC" => "/missing/cc", "MAKE" => "/missing/make" } }

    {
      debian: ["apt-get install build-essential ruby-dev libclang-dev", "https://rustup.rs"],
      fedora: ["dnf install gcc make ruby-devel clang-devel", "https://rustup.rs"],
      alpine: ["apk add build-base ruby-dev clang-dev", "https://rustup.rs"],
      macos: ["xcode-select --install", "https://rustup.rs"],
      windows: ["ridk exec pacman -S --needed mingw-w64-ucrt-x86_64-gcc make mingw-w64-ucrt-x86_64-clang",
                "Install Ruby again, with its headers.", "winget install Rustlang.Rustup"],
      nil => ["Install compiler, make, ruby, libclang with this system's package manager.", "https://rustup.rs"]
    }.each do |system, commands|
      it "names the commands of #{system || "any other system"}, in less than a screen" do
        requirements = described_class.new(system: system, environment: nothing)
        allow(requirements).to receive(:run).and_return(nil)
        expect(requirements.missing.keys).to eq(%i[rust compiler make ruby libclang])
        expect(requirements.message).to include(*commands)
        expect(requirements.message.lines.size).to be < 24
      end
    end
  end

  it "finds libclang by LIBCLANG_PATH, wherever that is" do
    stub_const("#{described_class}::LIBCLANG", { // => [] })
    expect(described_class.new(environment: { "LIBCLANG_PATH" => "/elsewhere" }).missing).not_to include(:libclang)
  end

  it "finds a C compiler without the C library's headers insufficient" do
    missing = described_class.new(environment: { "CC" => "#{RbConfig::CONFIG["CC"]} -nostdinc" }).missing
    expect(missing[:compiler]).to match(/-nostdinc` failed: .*stdlib\.h/)
  end
end
