# frozen_string_literal: true

begin
  require "async" # 2.0 or later
rescue LoadError
  # The part of its interface that the guide uses, with the specs' scheduler.
  require_relative "../../support/small_scheduler"
  File.write("async.rb", "")
  $LOAD_PATH.unshift(Dir.pwd)

  class Task
    def async(&work)
      Fiber.schedule(&work)
    end
  end

  def Async # rubocop:disable Naming/MethodName
    SmallScheduler.run { Fiber.schedule { yield Task.new } }
  end
end

require "rack"
require "stringio"

# What a server passes to the application's body.
class Page < StringIO
  def write(part)
    super.tap { raise Errno::EPIPE if string.include?("bye") }
  end
end

GuideProgram.finish do
  app, = Rack::Builder.parse_file("config.ru")
  page = Page.new
  Async do
    _, _, body = app.call({ "REQUEST_METHOD" => "GET", "QUERY_STRING" => "" })
    body.call(page)
  rescue Errno::EPIPE
    nil # The page was left.
  end
  raise page.string unless page.string.include?('data: {"text":"bye"}')
end
