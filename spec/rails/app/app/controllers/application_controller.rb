# frozen_string_literal: true

# Each response has the process that served it.
class ApplicationController < ActionController::API
  private

  def created(body = nil)
    render json: { created: body, process: Process.pid }, status: :created
  end
end
