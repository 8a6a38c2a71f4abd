"""The pages. They carry no rows: what a person sees of those comes by the sync protocol."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts.models import User


@never_cache
@login_required
def workspace(request: HttpRequest) -> HttpResponse:
    """The workspace of who is signed in; told are only their id and name, and where to connect."""
    user = cast(User, request.user)
    return render(request, "claudia/workspace.html", {"person": user, "theme": user.preferences.get("theme", "system")})


@sensitive_post_parameters("password")
def login(request: HttpRequest) -> HttpResponse:
    """Sign in by e-mail and password, then go on to where one wanted to."""
    view = LoginView.as_view(template_name="claudia/login.html", redirect_authenticated_user=True)
    return cast(HttpResponse, view(request))
