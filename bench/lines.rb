# frozen_string_literal: true

require_relative "support/measure"
require_relative "support/messages"
require_relative "support/plain_http"
require_relative "support/figure"
require_relative "support/line"
require_relative "lines/loading"
require_relative "lines/appending"
require_relative "lines/producing"
require_relative "lines/reading"
require_relative "lines/tailing"
require_relative "lines/fibers"
require_relative "lines/growth"
