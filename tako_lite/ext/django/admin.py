"""A link from Django's admin to the dashboard, where the setting `TAKO_DASHBOARD_URL` says its address."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpResponseRedirect

from tako_lite.ext.django.models import Dashboard


class DashboardAdmin(admin.ModelAdmin):
    """An entry of the index that leads to the dashboard."""

    def has_module_permission(self, request: Any) -> bool:
        return bool(request.user.is_staff)

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:
        return bool(request.user.is_staff)

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        return HttpResponseRedirect(settings.TAKO_DASHBOARD_URL)


if getattr(settings, "TAKO_DASHBOARD_URL", None):
    admin.site.register(Dashboard, DashboardAdmin)
