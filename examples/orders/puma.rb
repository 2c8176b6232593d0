# frozen_string_literal: true

# Puma in cluster mode. The application is loaded once, then the processes are forked. An open page occupies a thread,
# and its response has no end, so Puma must not wait for it when it stops.
environment "production"
workers Integer(ENV.fetch("WEB_PROCESSES", "2"))
threads 1, 32
preload_app!
force_shutdown_after 0
bind "tcp://#{ENV.fetch("HOST", "127.0.0.1")}:#{ENV.fetch("PORT", "9292")}"
rackup File.join(__dir__, "config.ru")
