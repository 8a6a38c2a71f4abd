"""Which address leads where."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import path

from claudia import views

urlpatterns = [
    path("", views.workspace, name="workspace"),
    path("login/", views.login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
