# frozen_string_literal: true

# Each open page occupies a thread: its response has no end. So there are many threads, which cost little while they
# wait; and Puma must not wait for these responses when it stops.
threads 1, Integer(ENV.fetch("CHAT_THREADS", "64"))
force_shutdown_after 0
bind ENV.fetch("BIND", "tcp://127.0.0.1:9292")
rackup File.join(__dir__, "config.ru")
environment "production"
