# frozen_string_literal: true

class PageViewsController < ApplicationController
  def create
    created(PageViews.track({ path: params.require(:path) }))
  end
end
