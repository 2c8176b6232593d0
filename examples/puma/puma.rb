# frozen_string_literal: true

# Puma in cluster mode: the application is loaded once, then the workers are forked. The client created before the fork
# works in all of them, without before_fork or on_worker_boot hooks.
#
#   STREAMS_URL=http://localhost:4437 puma -C examples/puma/puma.rb
environment "production"
workers Integer(ENV.fetch("WORKERS", "2"))
threads 1, 5
preload_app!
bind ENV.fetch("BIND", "tcp://127.0.0.1:9292")
rackup File.join(__dir__, "config.ru")
