# frozen_string_literal: true

Rails.application.routes.draw do
  resources :orders, only: :create
  resources :page_views, only: :create
  resources :payments, only: :create
end
