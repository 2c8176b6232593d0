# frozen_string_literal: true

def current_token
  "secret"
end
