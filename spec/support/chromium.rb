# frozen_string_literal: true

require "uri"
require_relative "child_process"
require_relative "gc_pressure"

# Chromium without a window, through Capybara. One browser serves all examples; each has pages of its own.
module Chromium
  # Names of the programs. bin/setup installs Debian's, which are the first.
  BROWSERS = %w[chromium chromium-browser google-chrome].freeze
  DRIVER = "chromedriver"
  # Seconds to wait for something in a page.
  WAIT = 15 * GCPressure::SLOWER

  # Starts the driver and ends it, as Selenium's services do.
  class Service
    # For messages of Selenium's newer versions.
    EXECUTABLE = DRIVER

    # @return [String]
    attr_accessor :executable_path

    def initialize(path)
      @executable_path = path
    end

    # @return [Service] self, which then has a URI
    def launch
      @process = ChildProcess.command({}, executable_path, "--port=0")
      self
    end

    # @return [URI]
    def uri
      @uri ||= URI("http://127.0.0.1:#{@process.wait_for(/successfully on port (\d+)/)[1]}")
    end

    def stop
      @process.signal("TERM")
      @process.ended
    end
  end

  class << self
    # @return [Capybara::Session]
    # @raise [RuntimeError] if Chromium, its driver or Capybara is missing
    def session
      @session ||= begin
        load_capybara
        Capybara::Session.new(:chromium)
      end
    end

    # Closes the browser, if there is one.
    def quit
      @session&.quit
      @session = nil
    end

    private

    def load_capybara
      skip_gem_childprocess
      require "capybara"
      require "selenium-webdriver"
      browser = BROWSERS.filter_map { |name| program(name) }.first or missing("chromium")
      driver = program(DRIVER) or missing("chromium-driver")
      Capybara.default_max_wait_time = WAIT
      Capybara.enable_aria_label = true
      Capybara.register_driver(:chromium) do |app|
        Capybara::Selenium::Driver.new(app, browser: :chrome, options: options(browser), service: Service.new(driver))
      end
    rescue LoadError => e
      missing("#{e.path} (Debian's ruby-capybara and ruby-selenium-webdriver)")
    end

    # Older versions of selenium-webdriver load this gem, to start drivers. It defines a module with the name of the
    # class ChildProcess.
    def skip_gem_childprocess
      _, path = $LOAD_PATH.resolve_feature_path("childprocess")
      $LOADED_FEATURES << path if path
    end

    # Root may run Chromium only without its sandbox.
    def options(browser)
      arguments = %w[headless=new disable-gpu disable-dev-shm-usage disable-features=BackForwardCache
                     window-size=1200,800]
      arguments << "no-sandbox" if Process.uid.zero?
      Selenium::WebDriver::Chrome::Options.new(args: arguments, binary: browser).tap do |options|
        options.add_option("goog:loggingPrefs", { "browser" => "ALL" })
      end
    end

    def program(name)
      ENV.fetch("PATH", "").split(File::PATH_SEPARATOR).map { |folder| File.join(folder, name) }
         .find { |file| File.executable?(file) }
    end

    def missing(what)
      raise "specs with a browser need #{what}, which is not installed: run bin/setup"
    end
  end
end

# `page` is a Capybara session whose browser has one empty window. After the example, its console has no errors, unless
# the example takes them out by `console`.
RSpec.shared_context "with a browser" do
  let(:page) { Chromium.session }

  after do |example|
    lines = console
    page.windows.drop(1).each(&:close)
    page.switch_to_window(page.windows.first)
    resize(1200, 800)
    page.reset!
    expect(lines).to eq([]) unless example.exception
  end

  # @return [Array<String>] the errors and warnings in the browser's console since the last call
  def console
    page.driver.browser.logs.get(:browser).reject { |entry| entry.level == "INFO" }.map(&:message)
  end

  # @param width [Integer] in CSS pixels, as on a phone if it is small
  def resize(width, height)
    page.driver.browser.execute_cdp("Emulation.setDeviceMetricsOverride", width: width, height: height,
                                                                          deviceScaleFactor: 1, mobile: width < 600)
  end
end

RSpec.configure { |config| config.after(:suite) { Chromium.quit } }
